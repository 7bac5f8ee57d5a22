"""The README's figure: what a step costs against the number of tasks.

    python benchmarks/price.py                             # into runs/benchmarks
    python benchmarks/price.py --out benchmarks/results    # the README's own

Measures nothing: it draws `benchmarks/results/rules.json`, which `benchmarks/rules.py`
wrote.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from _ratios import OUT
from matplotlib.figure import Figure

from auxjax.run import parse, plain_errors

RESULTS = Path(__file__).parent / "results"
LINES = {  # rule in the file -> label, colour, marker
    "olaux(n=5), stacked": ("OL-AUX on stacked gradients", "#D55E00", "s"),
    "olaux(n=5)": ("OL-AUX here", "#0072B2", "o"),
    "sum_tasks()": ("equal weights", "#666666", "."),
}
NETWORKS = {"mlp": "MLP", "cnn": "CNN"}
KEY = "Drawn from"


def mark(rows: Sequence[dict]) -> str:
    """What is kept in the PNG: of the numbers that are drawn."""
    drawn = [
        [row["model"], row["rule"], row["tasks"], round(row["time ratio"], 3)]
        for row in rows
        if row["rule"] in LINES
    ]
    return hashlib.sha256(json.dumps(drawn).encode()).hexdigest()[:16]


def draw(rows: Sequence[dict], path: Path) -> None:
    """Time of a step relative to equal weighting, a panel for each network."""
    figure = Figure((8.4, 3.1), layout="constrained")
    panels = figure.subplots(1, len(NETWORKS), sharey=True)
    for axes, (network, title) in zip(panels, NETWORKS.items(), strict=True):
        for rule, (label, colour, marker) in LINES.items():
            line = [r for r in rows if (r["model"], r["rule"]) == (network, rule)]
            x = [row["tasks"] for row in line]
            y = [row["time ratio"] for row in line]
            axes.plot(x, y, marker=marker, color=colour, label=label, linewidth=2)
            axes.annotate(
                f"{y[-1]:.1f}×",
                (x[-1], y[-1]),
                xytext=(7, 6 if rule == "olaux(n=5)" else -4),
                textcoords="offset points",
                color=colour,
                fontweight="bold",
            )
        axes.set(title=title, xlabel="tasks, the main one included", ylim=(0, 15))
        axes.set_xlim(0, 45)
        axes.set_xticks(x, x)
        axes.grid(color="0.92")
        axes.spines[["top", "right"]].set_visible(False)
    panels[-1].legend(frameon=False, loc="upper left")
    figure.supylabel("time of a step / equal weighting's", fontsize=10)
    figure.savefig(path, dpi=120, metadata={KEY: mark(rows), "Software": None})


@dataclasses.dataclass(frozen=True)
class Config:
    """What a step costs, drawn from the committed numbers."""

    out: Path = OUT
    """The folder for the figure."""


def main(args: Sequence[str] | None = None) -> None:
    """Draws the committed numbers."""
    config = parse(Config, description=__doc__, args=args)
    rows = json.loads((RESULTS / "rules.json").read_text())["rows"]
    with plain_errors():
        config.out.mkdir(parents=True, exist_ok=True)
        draw(rows, config.out / "price.png")
    print(config.out / "price.png")


if __name__ == "__main__":
    main()
