"""The only code with a transformer in it: trains a grid and logs its predictions. An extra."""

from rational_icl.train.config import Grid, Recipe
from rational_icl.train.grid import train_grid
from rational_icl.train.spread import train_spread

__all__ = ["Grid", "Recipe", "train_grid", "train_spread"]
