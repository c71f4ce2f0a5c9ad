"""The axis words and the array alias used by every module.

| axis | what it runs over |
|---|---|
| `run` | trained transformers: one task diversity, one seed, one condition |
| `cell` | (run, step) pairs |
| `task` | the D training tasks of a run |
| `strategy` | Bayesian predictors: memorizing, generalizing, constant, ... |
| `sequence`, `position`, `outcome` | logged predictions |
| `block` | disjoint groups of sequences, for standard errors |
| `bin` | bins of the log-ratio between strategies |

`Array` stands for NumPy and JAX arrays alike: jaxtyping still checks shape and dtype, and a module
that only validates or draws data need not import JAX.
"""

from typing import Any

Array = Any
