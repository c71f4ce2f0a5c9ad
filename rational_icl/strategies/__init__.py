"""What exact Bayesian strategies predict, what they lose and how complex they are."""
