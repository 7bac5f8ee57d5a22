"""What TorchJD makes of a few fixed Jacobians: the numbers our tests compare with.

    python -m pip install "torchjd[full]==0.18.0"
    python benchmarks/peers/torchjd_golden.py tests/aggregation/golden/torchjd.json

Runs in an environment of its own; auxjax is not imported. Every deterministic
aggregator is called on float64 Jacobians; those that draw random orders or signs are
called where the order does not matter (two tasks), or not at all. An aggregator that
raises, or returns what is not finite, is recorded as null.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torchjd import aggregation as jd
from torchjd.linalg import QuadprogProjector

PREFERENCE = (0.5, 0.3, 0.2)  # for the Jacobian of that name


def jacobians() -> dict[str, np.ndarray]:
    """Well-conditioned, rank-deficient and degenerate ones, three decimals each."""
    rng = np.random.default_rng(0)

    def normal(num_tasks: int, size: int) -> np.ndarray:
        return rng.normal(size=(num_tasks, size))

    duplicated = normal(2, 6)[[0, 1, 1, 0]]
    cases = {
        "two conflicting": np.array([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]]),
        "two orthogonal": np.array([[3.0, 0.0], [0.0, 1.0]]),
        "two opposing": np.array([[1.0, 2.0], [-2.0, -4.0]]),
        "three": normal(3, 5),
        "preference": normal(3, 8),
        "four alike": normal(1, 10) + 0.3 * normal(4, 10),
        "five of unequal length": normal(5, 9) * np.logspace(-2, 2, 5)[:, None],
        "six, rank 3": normal(6, 3),
        "eight": normal(8, 20),
        "sixteen, rank 12": normal(16, 12),
        "duplicated rows": duplicated,
        "a zero row": normal(3, 4) * np.array([[1.0], [0.0], [1.0]]),
        "all zero": np.zeros((3, 4)),
    }
    return {name: rows.round(3) for name, rows in cases.items()}


def aggregators(name: str, num_tasks: int) -> dict[str, Callable]:
    """Fresh ones: some remember what they saw."""
    exact = QuadprogProjector(norm_eps=0.0, reg_eps=1e-10)
    known = {
        "Mean": jd.Mean(),
        "Sum": jd.Sum(),
        "MGDA": jd.MGDA(),
        "MGDA(epsilon=1e-9, max_iters=20000)": jd.MGDA(epsilon=1e-9, max_iters=20_000),
        "UPGrad": jd.UPGrad(),
        "UPGrad(reg_eps=1e-10)": jd.UPGrad(projector=exact),
        "DualProj": jd.DualProj(),
        "DualProj(reg_eps=1e-10)": jd.DualProj(projector=exact),
        "CAGrad(c=0.4)": jd.CAGrad(c=0.4),
        "CAGrad(c=1.0)": jd.CAGrad(c=1.0),
        "NashMTL": jd.NashMTL(n_tasks=num_tasks),
        "NashMTL(max_norm=0)": jd.NashMTL(n_tasks=num_tasks, max_norm=0.0),
        "FairGrad(alpha=1.0)": jd.FairGrad(alpha=1.0),
        "FairGrad(alpha=2.0)": jd.FairGrad(alpha=2.0),
        "IMTLG": jd.IMTLG(),
        "ConFIG": jd.ConFIG(),
        "AlignedMTL(min)": jd.AlignedMTL(scale_mode="min"),
        "AlignedMTL(median)": jd.AlignedMTL(scale_mode="median"),
        "AlignedMTL(rmse)": jd.AlignedMTL(scale_mode="rmse"),
    }
    if num_tasks == 2:
        known |= {"PCGrad": jd.PCGrad(), "GradVac": jd.GradVac()}
    if name == "preference":
        u = torch.tensor(PREFERENCE, dtype=torch.float64)
        known |= {
            "UPGrad(preference)": jd.UPGrad(u, projector=exact),
            "DualProj(preference)": jd.DualProj(u, projector=exact),
            "ConFIG(preference)": jd.ConFIG(u),
            "AlignedMTL(preference)": jd.AlignedMTL(u),
        }
    return known


def aggregate(aggregator: Callable, rows: np.ndarray) -> list[float] | None:
    """The aggregated vector, eight digits; None for an error."""
    try:
        vector = aggregator(torch.tensor(rows)).numpy()
    except Exception as error:  # each solver has its own kinds
        print(f"  {type(error).__name__}: {error}")
        return None
    if not np.all(np.isfinite(vector)):
        return None
    return [float(f"{x:.8g}") for x in vector]


def main(out: Path) -> None:
    """Writes what every aggregator makes of every Jacobian."""
    cases = {}
    for name, rows in jacobians().items():
        print(name)
        outputs = {
            label: aggregate(aggregator, rows)
            for label, aggregator in aggregators(name, len(rows)).items()
        }
        cases[name] = {"jacobian": rows.tolist(), "outputs": outputs}
    head = {
        "made by": "benchmarks/peers/torchjd_golden.py",
        "torchjd": importlib.metadata.version("torchjd"),
        "torch": importlib.metadata.version("torch"),
        "preference": list(PREFERENCE),
    }
    text = json.dumps(head | {"cases": cases}, indent=1)
    text = re.sub(r"\[[^][{}]*\]", lambda m: " ".join(m[0].split()), text)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
