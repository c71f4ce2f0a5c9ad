"""Former name of `rational_icl.noise`, for one release."""

import warnings

from rational_icl.posterior.noise import *  # noqa: F403

warnings.warn("ri.observations is called ri.noise since 0.6", DeprecationWarning, stacklevel=2)
