"""Description lengths of strategies: bits of the prior they carry, plus a declared program.

Program bits are constants of a setting, not the compressed source of this package: the theory must
not change when somebody edits a docstring.
"""

import bz2
import lzma
import zlib

import numpy as np

from rational_icl.predictors import MEMORIZING
from rational_icl.settings import Setting

FLOAT_BITS = 64


def table_bits(tasks: np.ndarray) -> float:
    """Bits of a task table as float64: the smallest of raw, zlib, bzip2 and LZMA, each lossless.

    A table of random numbers stays near 59 to 64 bits a number.
    """
    raw = np.ascontiguousarray(tasks, dtype=np.float64).tobytes()
    sizes = [len(raw), len(zlib.compress(raw, 9)), len(bz2.compress(raw, 9))]
    sizes.append(len(lzma.compress(raw, format=lzma.FORMAT_ALONE)))
    return 8.0 * min(sizes)


def complexity(setting: Setting, strategy: str, tasks: np.ndarray) -> float:
    """K_k(D) = program bits + prior bits, in bits.

    The prior of memorizing is its task table; that of any other strategy is its hyper-parameters,
    64 bits each.
    """
    if strategy == MEMORIZING:
        prior = table_bits(tasks)
    else:
        prior = float(FLOAT_BITS * setting.prior_parameters(strategy))
    return setting.program_bits[strategy] + prior
