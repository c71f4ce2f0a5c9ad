"""Published figures beside a report's own, where the same quantity exists."""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import numpy as np
import pandas as pd

from rational_icl.fitting.agreement import region_agreement
from rational_icl.fitting.fits import Fit

_USUAL_MLP_FACTOR = 4.0


def published_fits() -> pd.DataFrame:
    """Fits of the rational account that its authors released with their code.

    Columns: setting, context_length, num_dims, mlp_factor, split, measure and value, of 72
    configurations. Measures are those of `region_agreement`, as means over all cells that were
    kept, fitted and held out together.

    Source: Wurgaft et al. (2025), arXiv:2506.17859.
    """
    text = files("rational_icl.report").joinpath("published.csv")
    with text.open(encoding="utf-8") as file:
        return pd.read_csv(file)


def beside_published(
    frame: pd.DataFrame, fit: Fit, splits: Sequence[str], factors: Mapping[str, Any]
) -> pd.DataFrame:
    """Figures of this log beside those published for its setting, a row a measure and split.

    Columns: split; measure; here, over all cells but early ones, fitted and held out together, as
    it was published; nearest, the published value of the configuration with the nearest sizes, and
    its context_length, num_dims and mlp_factor; lowest and highest of the configurations, and how
    many they are. Empty for other accounts than the rational one, for other strategies than the
    setting's first two, and for settings that were not published.

    Args:
        frame: from `cell_agreement`.
        fit: what it was made with.
        splits: those of the log.
        factors: of the log's runs; `mlp_factor` is looked at, 4 if there is none.
    """
    setting = fit.setting
    fits = published_fits()
    fits = fits[fits["setting"].isin([setting.name]) & fits["split"].isin(splits)]
    if fit.account.name != "rational" or fit.strategies != setting.strategies[:2]:
        fits = fits[:0]
    later = frame[frame["region"] != "excluded_early"].assign(region="kept")
    weight = f"weight_{fit.strategies[0]}"
    sizes = {name: getattr(setting, name, None) for name in ("num_dims", "context_length")}
    sizes["mlp_factor"] = _mlp_factor(factors)
    rows = []
    for (split, measure), group in fits.groupby(["split", "measure"]):
        value = region_agreement(later, setting.outcome, str(split), "kept", weight)[str(measure)]
        nearest = group.iloc[int(_distance(group, sizes).argmin())]
        rows.append(
            {
                "split": split,
                "measure": measure,
                "here": np.nan if value is None else value,
                "nearest": nearest["value"],
                "context_length": nearest["context_length"],
                "num_dims": nearest["num_dims"],
                "mlp_factor": nearest["mlp_factor"],
                "lowest": group["value"].min(),
                "highest": group["value"].max(),
                "configurations": len(group),
            }
        )
    return pd.DataFrame(rows)


def _mlp_factor(factors: Mapping[str, Any]) -> float:
    """That of the runs: factors come from files, and may be anything."""
    factor = factors.get("mlp_factor")
    if isinstance(factor, int | float) and 0 < factor < np.inf:
        return float(factor)
    return _USUAL_MLP_FACTOR


def _distance(group: pd.DataFrame, sizes: Mapping[str, Any]) -> np.ndarray:
    """How far configurations are, all their sizes alike, as ratios."""
    wanted = np.log([float(value) for value in sizes.values()])
    return np.abs(np.log(group[list(sizes)].to_numpy(float)) - wanted).sum(axis=1)
