"""A posterior as one object: draws, with the account, the noise and the cells that they are of."""

from functools import cached_property
from pathlib import Path

from rational_icl import _arviz
from rational_icl._arviz import InferenceData
from rational_icl._errors import FitError
from rational_icl.accounts import Account
from rational_icl.posterior.constant_data import from_dataset
from rational_icl.posterior.files import load_groups, save_groups
from rational_icl.posterior.noise import Observation
from rational_icl.posterior.specification import Specification


class Posterior:
    """Draws of an account's parameters given logged cells, with all that predicting needs.

    Every function of a posterior takes this object, or its ArviZ groups where account and noise
    are the package's own.

    Args:
        idata: groups as `sample` makes them: an `arviz.InferenceData`, or an xarray `DataTree`
            with ArviZ 1.
        account, observation: those it was sampled with, where they are not the package's own.

    Raises:
        FitError: idata is nothing of ArviZ.
    """

    def __init__(
        self,
        idata: InferenceData,
        *,
        account: Account | None = None,
        observation: Observation | None = None,
    ):
        if not _arviz.is_inference_data(idata):
            raise FitError(
                f"posterior: a {type(idata).__name__}; expected what `sample` or `load_posterior` "
                "returns, or its ArviZ groups"
            )
        self.idata = idata
        self._given = account, observation

    @cached_property
    def specification(self) -> Specification:
        """Specification of the posterior: account, noise and cells.

        Raises:
            FitError: the groups are not of `sample`, are of another release's model, or need an
                account or an observation that is not given.
        """
        names = _arviz.group_names(self.idata)
        if not {"posterior", "constant_data"} <= set(names):
            raise FitError(
                f"posterior: groups {', '.join(names) or 'none'}; expected posterior and "
                "constant_data, as of `sample`"
            )
        return from_dataset(_arviz.group(self.idata, "constant_data"), *self._given)

    @classmethod
    def of(cls, posterior: "PosteriorLike") -> "Posterior":
        """Posterior of ArviZ groups, or the object itself.

        Raises:
            FitError: as the constructor.
        """
        return posterior if isinstance(posterior, cls) else cls(posterior)

    @property
    def account(self) -> Account:
        """Account that was sampled, in its own parameters."""
        return self.specification.account

    @property
    def observation(self) -> Observation:
        """Noise: how observed cells scatter about the account."""
        return self.specification.observation

    @property
    def strategies(self) -> tuple[str, ...]:
        """Names of the strategies."""
        return self.specification.strategies

    @property
    def conditions(self) -> tuple[str, ...]:
        """Names of the conditions sampled together; one empty name of a single log."""
        return self.specification.conditions

    def save(self, path: str | Path) -> None:
        """Write NetCDF, for `load_posterior` and for ArviZ of both majors.

        Raises:
            FitError: the folder does not exist.
        """
        save_groups(self.idata, Path(path))

    def __repr__(self) -> str:
        sizes = _arviz.group(self.idata, "posterior").sizes
        return (
            f"Posterior({self.account.name}: {sizes['chain']} chains of {sizes['draw']} draws, "
            f"{len(self.specification.weight)} cells)"
        )


PosteriorLike = Posterior | InferenceData
"""A `Posterior`, or its ArviZ groups."""


def save_posterior(posterior: PosteriorLike, path: str | Path) -> None:
    """Write a posterior as NetCDF, readable by both majors of ArviZ.

    Args:
        posterior: from `sample`.
        path: of the file.

    Raises:
        FitError: the folder does not exist, or it is no posterior.
    """
    Posterior.of(posterior).save(path)


def load_posterior(
    path: str | Path,
    *,
    account: Account | None = None,
    observation: Observation | None = None,
) -> Posterior:
    """Posterior from a file that `save_posterior` wrote.

    Args:
        path: of the file.
        account, observation: those it was sampled with, where they are not the package's own.

    Raises:
        FitError: there is no file, it holds no posterior, one of another release's model, or one
            that needs an account or an observation that is not given.
    """
    idata = load_groups(Path(path))
    try:
        posterior = Posterior(idata, account=account, observation=observation)
        _ = posterior.specification  # what is wrong with it is said now, beside the file's name
    except FitError as error:
        raise FitError(f"{path}: {error}") from None
    return posterior
