"""Runs the code of the tutorial, draws its figure and prints its table.

python docs/_tutorial.py            # five seeds; the figure goes to runs/tutorial.png
python docs/_tutorial.py --seeds 1
python docs/_tutorial.py --seeds 1 --out docs/tutorial.png    # the page's own figure
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from _run_page import run_page, text_of

PAGE = "tutorial.md"
OUT = Path("runs", "tutorial.png")
SETTINGS = "STEPS, SEED = 600, 0"
ROWS = ("digit alone", "plain sum", "logarithms alone", "OL-AUX")


def run(steps: int, seed: int, folder: Path) -> dict:
    """The names that the page's code leaves behind; its figure is in `folder`."""
    return run_page(PAGE, SETTINGS, f"STEPS, SEED = {steps}, {seed}", folder)


def text() -> str:
    """The page."""
    return text_of(PAGE)


def table(accuracies: list[dict[str, float]]) -> str:
    """Accuracies in percent, mean and standard deviation over the seeds."""
    lines = ["| | right on the test images, % |", "|---|--:|"]
    for name in ROWS:
        values = [100 * accuracy[name] for accuracy in accuracies]
        lines.append(f"| {name} | {np.mean(values):.1f} ± {np.std(values):.1f} |")
    return "\n".join(lines)


def main(args: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=OUT, help="the figure, a PNG")
    options = parser.parse_args(args)
    accuracies = []
    for seed in range(options.seeds):
        with tempfile.TemporaryDirectory() as folder:
            names = run(600, seed, Path(folder))
            if seed == 0:
                png = Path(folder, "weights.png").read_bytes()
                options.out.parent.mkdir(parents=True, exist_ok=True)
                options.out.write_bytes(png)
        last = [round(float(w), 2) for w in names["seen"][-1]]
        print(f"seed {seed}: {names['accuracy']}, weights {last}", flush=True)
        accuracies.append(names["accuracy"])
    print(table(accuracies))


if __name__ == "__main__":
    main()
