"""Runs the code of "Do my tasks conflict?", draws its figure and prints its tables.

python docs/_conflicts.py            # five seeds; the figure goes to runs/conflicts.png
python docs/_conflicts.py --seeds 1
python docs/_conflicts.py --out docs/do_my_tasks_conflict.png    # the page's own figure
"""

from __future__ import annotations

import argparse
import contextlib
import io
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from _run_page import run_page

PAGE = "do_my_tasks_conflict.md"
OUT = Path("runs", "conflicts.png")
SETTINGS = "STEPS, LABELS, IMAGES, SEED = 600, 50, 1437, 0"


def run(steps: int, labels: int, images: int, seed: int, folder: Path) -> dict:
    """The names that the page's code leaves behind; its figure is in `folder`."""
    values = f"{steps}, {labels}, {images}, {seed}"
    instead = f"STEPS, LABELS, IMAGES, SEED = {values}"
    return run_page(PAGE, SETTINGS, instead, folder)


def accuracies(runs: dict[int, list[dict]]) -> str:
    """Percent right, mean and standard deviation over the seeds, a row per way.

    Args:
      runs: of each number of labels.
    """
    lines = [f"| | {' | '.join(f'{n:,} labels' for n in runs)} |"]
    lines.append("|---" + "|--:" * len(runs) + "|")
    for name in next(iter(runs.values()))[0]["right"]:
        cells = [_spread([x["right"][name] for x in of], 1) for of in runs.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def watched(runs: list[dict]) -> str:
    """What the looks and the watch say of each helper, over the seeds."""
    lines = [
        "| | one look: t, by seed | effect, whole training | the same, logarithms "
        "| cosine, whole training |",
        "|---|---|--:|--:|--:|",
    ]
    for i, name in enumerate(runs[0]["NAMES"][1:], start=1):
        looks = ", ".join(f"{x['look'].t_values[i]:+.0f}" for x in runs)
        cells = [
            _spread([x["plain"].effect[i] for x in runs], 3),
            _spread([x["of_logs"].effect[i] for x in runs], 3),
            _spread([x["plain"].cosines[0, i] for x in runs], 3),
        ]
        lines.append(f"| {name} | {looks} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _spread(values: Sequence[float], digits: int) -> str:
    return f"{np.mean(values):.{digits}f} ± {np.std(values):.{digits}f}"


def main(args: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--labels", type=int, nargs="+", default=[50, 1437])
    parser.add_argument("--images", type=int, default=1437)
    parser.add_argument("--out", type=Path, default=OUT, help="the figure, a PNG")
    options = parser.parse_args(args)
    runs = {labels: [] for labels in options.labels}
    for seed in range(options.seeds):
        for labels, of in runs.items():
            with tempfile.TemporaryDirectory() as folder:
                said = io.StringIO()
                with contextlib.redirect_stdout(said):
                    given = options.steps, labels, options.images, seed
                    of.append(run(*given, Path(folder)))
                if (seed, labels) == (0, options.labels[0]):
                    png = Path(folder, "conflicts.png").read_bytes()
                    options.out.parent.mkdir(parents=True, exist_ok=True)
                    options.out.write_bytes(png)
                    print(said.getvalue())
            print(f"seed {seed}, {labels} labels: {_told(of[-1])}", flush=True)
    print("", watched(runs[options.labels[0]]), "", accuracies(runs), sep="\n")


def _told(found: dict) -> str:
    """A run in a line."""
    right = {name: round(x, 1) for name, x in found["right"].items()}
    kept = np.array(found["NAMES"])[found["hints"]].tolist()
    effects = found["of_logs"].effect[1:].round(3).tolist()
    return f"{right}, kept {kept}, effects {effects}, groups {found['groups'].groups}"


if __name__ == "__main__":
    main()
