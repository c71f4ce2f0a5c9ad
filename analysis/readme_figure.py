"""The README's figure: relative distance of shipped transformers beside that of the fitted theory.

    python analysis/readme_figure.py

writes `docs/observed_and_predicted.png`.
"""

from pathlib import Path

import matplotlib.pyplot as plt

import rational_icl as ri

ROOT = Path(__file__).resolve().parent.parent
TITLES = {
    "relative_distance_id": "24 transformers",
    "predicted_relative_distance_id": "rational account, three fitted numbers",
}


def main() -> None:
    cells, behaviour = ri.summarize(ROOT / "data" / "urns")
    fit = ri.fit("rational", cells, behaviour)
    frame = ri.cell_agreement(None, cells, behaviour, fit)
    figure, axes = plt.subplots(1, 2, figsize=(9.4, 3.6), layout="constrained", sharey=True)
    for ax, (column, title) in zip(axes, TITLES.items(), strict=True):
        label = "relative distance (1 = memorizing)"
        ri.plotting.plot_map(frame, column, ax=ax, label=label)
        ax.set_title(title)
    axes[1].set_ylabel("")
    figure.savefig(ROOT / "docs" / "observed_and_predicted.png", dpi=130)


if __name__ == "__main__":
    main()
