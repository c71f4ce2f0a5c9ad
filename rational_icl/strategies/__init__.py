"""Exact Bayesian strategies: their predictions, losses and complexities."""
