"""Training of small transformers on a grid of task diversities and seeds, logged. An extra."""

from rational_icl.train.config import Grid, Recipe
from rational_icl.train.grid import train_grid
from rational_icl.train.spread import train_spread

__all__ = ["Grid", "Recipe", "train_grid", "train_spread"]
