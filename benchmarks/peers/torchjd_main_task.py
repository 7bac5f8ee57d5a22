"""What TorchJD's aggregators that remember make of fixed sequences of Jacobians.

    python -m pip install "torchjd[full]==0.18.0"
    python benchmarks/peers/torchjd_main_task.py \
        tests/aggregation/golden/torchjd_main_task.json

The sibling of `torchjd_golden.py` for PCD and ExcessMTL, whose answer depends on what
they saw before: five float64 Jacobians one after another, three decimals each. Runs in
an environment of its own; auxjax is not imported.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import sys
from pathlib import Path

import numpy as np
import torch
from torchjd import aggregation as jd

STEPS = 5


def sequences() -> dict[str, np.ndarray]:
    """`[steps, T, n]`: conflicts, other lengths, dependent and opposed rows."""
    rng = np.random.default_rng(0)

    def normal(num_tasks: int, size: int) -> np.ndarray:
        return rng.normal(size=(STEPS, num_tasks, size))

    three = normal(3, 5)
    lengths = np.array([1.0, 20.0, 0.05, 3.0])[:, None]
    opposed = normal(3, 4).round(3)
    opposed[:, 2] = -2.0 * opposed[:, 1]
    cases = {
        "two": normal(2, 3),
        "three": three,
        "against the main task": np.stack(
            [x - 2.0 * x[[0]] * (i > 0) for i, x in enumerate(three)]
        ),
        "four of unequal length": normal(4, 8) * lengths,
        "six, rank 3": normal(6, 3),
        "ten": normal(10, 30),
        "opposed": opposed,
    }
    return {name: rows.round(3) for name, rows in cases.items()}


def answers(aggregator, rows: np.ndarray) -> list:
    """What comes out step by step, nine digits each."""
    outputs = [aggregator(torch.tensor(x)).numpy() for x in rows]
    return [[float(f"{v:.9g}") for v in x] for x in outputs]


def main(out: Path) -> None:
    """Writes what both make of every sequence."""
    pcd, excess = {}, {}
    for name, rows in sequences().items():
        for options in ({"tau": 0.02}, {"tau": 0.3, "beta": 0.9, "eps": 1e-4}):
            outputs = answers(jd.PCD(**options), rows)
            pcd[f"{name}, τ = {options['tau']}"] = {
                "options": options,
                "jacobians": rows.tolist(),
                "outputs": outputs,
            }
        for warmup, rate in ((1, 1.0), (2, 0.1)):
            aggregator = jd.ExcessMTL(robust_step_size=rate, n_warmup_steps=warmup)
            excess[f"{name}, {warmup} before"] = {
                "options": {"learning_rate": rate, "warmup": warmup},
                "jacobians": rows.tolist(),
                "outputs": answers(aggregator, rows),
            }
    head = {
        "made by": "benchmarks/peers/torchjd_main_task.py",
        "torchjd": importlib.metadata.version("torchjd"),
        "torch": importlib.metadata.version("torch"),
    }
    text = json.dumps(
        head | {"PCD": pcd, "ExcessMTL": excess}, indent=1, ensure_ascii=False
    )
    text = re.sub(r"\[[^][{}]*\]", lambda m: " ".join(m[0].split()), text)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
