"""The summary of a report: plain sentences, each made from computed numbers."""

import numpy as np

from rational_icl.report.analysis import Analysis


def sentences(analysis: Analysis) -> list[str]:
    """What a reader should know first, including where the account fails."""
    found = [_how_close(analysis), _gap(analysis), _out_of_distribution(analysis)]
    found += [_crossovers(analysis), _plateau(analysis), _starts(analysis)]
    return [sentence for sentence in found if sentence]


def _how_close(analysis: Analysis) -> str:
    fitted, held = (analysis.agreement("id", region) for region in ("fitted", "held_out"))
    params = ", ".join(f"{name} = {value:.3g}" for name, value in analysis.fit.params.items())
    return (
        f"The {analysis.fit.account.name} account, fitted with {params}, follows in-distribution "
        f"relative distance with root mean square error {_text(fitted['relative_distance_rmse'])} "
        f"(r = {_text(fitted['relative_distance_r'])}) in fitted cells and "
        f"{_text(held['relative_distance_rmse'])} (r = {_text(held['relative_distance_r'])}) in "
        "held-out cells."
    )


def _gap(analysis: Analysis) -> str:
    parts = []
    for region, words in (("fitted", "fitted"), ("held_out", "held-out")):
        share = analysis.gap_closed(region)
        if share is not None:
            parts.append(f"{100 * share:.0f} % in {words} cells")
    if not parts:
        return ""
    return (
        "Of the gap in divergence between the best constant weight (floor) and the best mixture of "
        f"every cell (ceiling), it closes {' and '.join(parts)}."
    )


def _out_of_distribution(analysis: Analysis) -> str:
    inside, outside = (
        analysis.agreement(split, "held_out")["total_variation"] for split in ("id", "ood")
    )
    if inside is None or outside is None:
        return ""
    return (
        f"In held-out cells, its next-token distributions differ from the transformers' by a total "
        f"variation of {inside:.3f} on in-distribution and {outside:.3f} on out-of-distribution "
        "sequences (it was fitted on in-distribution ones only)."
    )


def _crossovers(analysis: Analysis) -> str:
    both = analysis.crossover.dropna(subset=["observed", "predicted"])
    if both.empty:
        return (
            "At no task diversity do all runs cross relative distance ½ where the account also "
            "predicts a crossover, so transition times cannot be compared."
        )
    ratio = both["predicted"] / both["observed"]
    listed = ", ".join(
        f"D = {row.num_tasks}: {row.predicted:,.0f} against {row.observed:,.0f}"
        + (" (early, where cells are excluded)" if row.early else "")
        for row in both.itertuples()
    )
    worst = float(np.exp(np.abs(np.log(ratio)).max()))
    text = (
        f"Predicted against observed crossover steps: {listed}; the worst is off by a factor of "
        f"{worst:.2g}."
    )
    if len(both) >= 2:
        slopes = [
            np.polyfit(np.log(both["num_tasks"]), np.log(both[kind]), 1)[0]
            for kind in ("predicted", "observed")
        ]
        text += (
            f" Over these D, ln N* rises with ln D at a slope of {slopes[0]:.2f} predicted and "
            f"{slopes[1]:.2f} observed."
        )
    return text


def _plateau(analysis: Analysis) -> str:
    """Where the account is furthest from what is seen, by task diversity, at the last step."""
    frame = analysis.frame
    last = frame[frame["step"] == frame["step"].max()]
    weight = f"weight_{analysis.fit.strategies[0]}"
    by_diversity = last.groupby("num_tasks")[[weight, "relative_distance_id"]].mean()
    apart = by_diversity[weight] - by_diversity["relative_distance_id"]
    worst = apart.abs().idxmax()
    if not np.isfinite(apart[worst]):
        return ""
    seen, predicted = by_diversity.loc[worst, ["relative_distance_id", weight]]
    return (
        f"At the last step ({last['step'].max():,}, held out) it fails most at D = {worst}, with a "
        f"weight of {predicted:.2f} where the transformers' relative distance is {seen:.2f}."
    )


def _starts(analysis: Analysis) -> str:
    starts = analysis.fit.starts
    near = (starts["objective"] - analysis.fit.objective) < 1e-6
    return (
        f"{int(near.sum())} of {len(starts)} optimizer starts ended within 10⁻⁶ nats of the best; "
        "these are point estimates without uncertainty."
    )


def _text(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"
