"""The summary of a report: plain sentences, each made from computed numbers."""

import numpy as np
import pandas as pd

from rational_icl.fitting.jackknife import Jackknife
from rational_icl.report import bayesian, comparing
from rational_icl.report.result import Analysis


def sentences(analysis: Analysis) -> list[str]:
    """Sentences that a reader should know first, including where the account fails."""
    texts = [_how_close(analysis), _gap(analysis), _undefined(analysis)]
    texts += [_out_of_distribution(analysis), _strategies(analysis)]
    texts += [
        _crossovers(analysis),
        _determined(analysis),
        _errors(analysis),
    ]
    if analysis.bayesian:
        texts[1:1] = bayesian.sentences(analysis.bayesian, analysis.crossover)
    if analysis.comparison:
        texts += comparing.sentences(analysis.comparison, analysis.fit.account.name)
    return [sentence for sentence in texts if sentence]


def _how_close(analysis: Analysis) -> str:
    params = ", ".join(f"{name} = {value:.3g}" for name, value in analysis.fit.params.items())
    parts = []
    for region, words in (
        ("fitted", "in fitted cells"),
        ("later_steps", "in held-out cells at later steps"),
        ("larger_num_tasks", "in held-out cells at larger task diversity"),
    ):
        measures = analysis.agreement("id", region)
        if measures["relative_distance_rmse"] is not None:
            parts.append(
                f"{_text(measures['relative_distance_rmse'])} {words} "
                f"(r = {_text(measures['relative_distance_r'])}, mean of predicted less observed "
                f"{measures['relative_distance_bias']:+.3f})"
            )
    if not parts:
        return (
            f"The {analysis.fit.account.name} account was fitted with {params}; relative distance "
            "is defined in too few cells to say how well it is followed."
        )
    return (
        f"The {analysis.fit.account.name} account, fitted with {params}, follows in-distribution "
        f"relative distance with root mean square error {'; '.join(parts)}."
    )


def _gap(analysis: Analysis) -> str:
    parts = []
    for region, words in (("fitted", "fitted"), ("held_out", "held-out")):
        share = analysis.gap_closed(region)
        if share is None:
            continue
        divergence = analysis.agreement("id", region)["divergence"]
        floor, ceiling = analysis.bounds["floor"][region], analysis.bounds["ceiling"][region]
        parts.append(
            f"{100 * share:.0f} % in {words} cells (floor {floor:.4f}, account {divergence:.4f}, "
            f"ceiling {ceiling:.4f} nats)"
        )
    if not parts:
        return ""
    return (
        "Of the gap in divergence between one constant weight, fitted on the fitted cells (floor), "
        "and the best mixture of every cell (ceiling), it closes "
        f"{' and '.join(parts)}; the divergence of the ceiling itself no account of these "
        "strategies can explain."
    )


def _undefined(analysis: Analysis) -> str:
    if not analysis.undefined:
        return ""
    return (
        f"Relative distance is undefined in {' and in '.join(analysis.undefined)}; these cells are "
        "left out wherever it is needed."
    )


def _out_of_distribution(analysis: Analysis) -> str:
    measure = analysis.prediction_measure
    values = {split: analysis.agreement(split, "held_out")[measure] for split in analysis.splits}
    if any(value is None for value in values.values()):
        return ""
    words = {"id": "in-distribution", "ood": "out-of-distribution"}
    listed = ", ".join(f"{value:.3f} on {words.get(s, s)}" for s, value in values.items())
    return (
        f"In held-out cells, its predictions differ from the transformers' by a "
        f"{measure.replace('_', ' ')} of {listed} sequences (it was fitted on in-distribution ones "
        "only)."
    )


def _strategies(analysis: Analysis) -> str:
    """Which strategy's weight is furthest from the best mixtures', where there are several."""
    if len(analysis.fit.strategies) == 2:
        return ""
    weights = analysis.strategy_weights
    held_out = weights[weights["region"] == "held_out"].dropna()
    if held_out.empty:
        return ""
    worst = held_out.sort_values("root_mean_square_error").iloc[-1]
    return (
        f"Of its {len(analysis.fit.strategies)} strategies, {worst['strategy'].replace('_', ' ')} "
        f"is predicted worst: in held-out cells its weight is {worst['predicted']:.2f} on average "
        f"where that of the best mixtures is {worst['observed']:.2f} (root mean square error "
        f"{worst['root_mean_square_error']:.2f})."
    )


def _crossovers(analysis: Analysis) -> str:
    both = analysis.crossover.dropna(subset=["observed", "predicted"])
    if both.empty:
        return (
            "At no task diversity do all runs cross relative distance ½ where the account also "
            "predicts a crossover, so transition times cannot be compared."
        )
    text = (
        "Predicted crossover steps, where its weights cross, against observed ones, where every "
        f"run crosses: {_listed(both, 'predicted')}."
    )
    alike = analysis.crossover.dropna(subset=["observed", "mixture"])
    if len(alike):
        text += (
            " Like for like, where the relative distance of its mixtures crosses one half within "
            f"the logged steps: {_listed(alike, 'mixture')}."
        )
    uncompared = sorted(set(analysis.crossover["num_tasks"]) - set(both["num_tasks"]))
    if uncompared:
        text += (
            f" Not compared, because some run or the account does not cross: D = "
            f"{', '.join(map(str, uncompared))}."
        )
    return text + _slope(both)


def _listed(both: pd.DataFrame, column: str) -> str:
    listed = ", ".join(
        f"D = {tasks}: {step:,.0f} against {observed:,.0f}"
        + (" (early, where cells are excluded)" if early else "")
        + ("" if determined or column != "predicted" else " (not determined)")
        for tasks, step, observed, early, determined in both[
            ["num_tasks", column, "observed", "early", "predicted_determined"]
        ].itertuples(index=False)
    )
    worst = float(np.exp(np.abs(np.log(both[column] / both["observed"])).max()))
    return f"{listed}; the worst of these is off by a factor of {worst:.2g}"


def _slope(both: pd.DataFrame) -> str:
    if len(both) < 3 or both["num_tasks"].max() < 4 * both["num_tasks"].min():
        return ""
    slopes = [
        np.polyfit(np.log(both["num_tasks"]), np.log(both[kind]), 1)[0]
        for kind in ("predicted", "observed")
    ]
    return (
        f" Over the {len(both)} compared D ({int(both['early'].sum())} of them early), ln N* rises "
        f"with ln D at a slope of {slopes[0]:.2f} predicted and {slopes[1]:.2f} observed."
    )


def _determined(analysis: Analysis) -> str:
    """Which parameters the data leave free; that starts agree says nothing of it."""
    if analysis.fit.caution:
        return analysis.fit.caution
    starts = analysis.fit.starts
    near = (starts["objective"] - starts["objective"].min()) < 1e-6
    return (
        f"{int(near.sum())} of {len(starts)} optimizer starts ended within 10⁻⁶ nats of the best, "
        f"and the fitted cells determine all parameters that are not at the edge of their range."
    )


def _errors(analysis: Analysis) -> str:
    """Errors of the fitted values, told apart from those of a posterior."""
    errors = analysis.jackknife
    if not isinstance(errors, Jackknife):
        return f"Fitted values are given without errors: {errors}."
    if errors.table.empty:
        return ""
    known = errors.table[errors.table["status"] == "determined"]
    listed = ", ".join(
        f"{row['parameter']} = {row['estimate']:.3g} ({row['lower']:.3g} to {row['upper']:.3g})"
        for row in known.to_dict(orient="records")
    )
    undetermined = ", ".join(
        name for name in analysis.fit.params if name not in set(known["parameter"])
    )
    sentence = (
        f"A jackknife over the {len(errors.estimates)} fitted task diversities gives "
        f"{100 * errors.level:.0f} % intervals for the fitted values: {listed or 'none'}"
    )
    if undetermined:
        sentence += f"; none for {undetermined}, free or at the edge of its range in some refit"
    if analysis.bayesian:
        sentence += "; intervals of the posterior are conditional on its model of noise instead"
    return sentence + "."


def _text(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"
