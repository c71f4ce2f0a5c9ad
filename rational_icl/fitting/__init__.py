"""Point estimates of an account's parameters, and how far to trust them."""
