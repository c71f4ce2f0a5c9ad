"""Description lengths of strategies: bits of the prior they carry, plus a declared program.

Program bits are constants of a setting, not the compressed source of this package: the theory must
not change when somebody edits a docstring. Numbers are counted in one declared precision, float64:
the theory must not change either with the type that the same tasks were stored in. A table that was
rounded to float32, float16 or bfloat16 is compressed as `precision.unrounded` completes it; one of
float64 numbers, or with a structure of its own, as it is.
"""

import bz2
import lzma
import zlib

import numpy as np
from jaxtyping import Float

from rational_icl.settings import Setting
from rational_icl.strategies.precision import unrounded

FLOAT_BITS = 64


def table_bits(tasks: np.ndarray, dtype: type[np.floating] = np.float64) -> float:
    """Bits of a task table: the smallest of raw, zlib, bzip2 and LZMA, each lossless.

    In double precision, a table of random numbers stays near 59 to 64 bits a number, whatever type
    it was once stored in: to within 0.3 % for most tables, and 2.5 % for some, as much as LZMA
    itself varies with the last bits of float64 numbers.

    Args:
        tasks: the table.
        dtype: that numbers are counted in, as if a learner stored them so.
    """
    raw = np.ascontiguousarray(unrounded(tasks), dtype=dtype).tobytes()
    sizes = [len(raw), len(zlib.compress(raw, 9)), len(bz2.compress(raw, 9))]
    sizes.append(len(lzma.compress(raw, format=lzma.FORMAT_ALONE)))
    return 8.0 * min(sizes)


def complexity(
    setting: Setting,
    strategy: str,
    tasks: np.ndarray,
    task_prob: Float[np.ndarray, " task"] | None = None,
    dtype: type[np.floating] = np.float64,
) -> float:
    """Complexity of a strategy, K_k(D) = program bits + prior bits, in bits.

    The prior of a memorizing strategy is its task table, and what it must know of how often each
    task comes: a second table if task_prob is given, one number if the setting has a law for it.
    That of any other strategy is its hyper-parameters. Numbers on their own have 64 bits; those of
    the task table are counted in `dtype`.
    """
    if strategy not in setting.memorizing:
        return setting.program_bits[strategy] + FLOAT_BITS * setting.prior_parameters(strategy)
    prior = table_bits(setting.prior_table(strategy, tasks), dtype)
    if task_prob is not None:
        prior += table_bits(task_prob)
    elif setting.task_exponent:
        prior += FLOAT_BITS
    return setting.program_bits[strategy] + prior
