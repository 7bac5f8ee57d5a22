"""What TorchJD's CR-MOGM makes of the weights of rules on fixed sequences of Jacobians.

    python -m pip install "torchjd[full]==0.18.0"
    python benchmarks/peers/torchjd_cr_mogm.py \
        tests/aggregation/golden/torchjd_cr_mogm.json

The sibling of `torchjd_golden.py` for what depends on what was seen before: six
float64 Jacobians one after another, three decimals each. Runs in an environment of its
own; auxjax is not imported.
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
from torchjd.linalg import QuadprogProjector

STEPS = 6
ALPHAS = (0.0, 0.5, 0.9)


def sequences() -> dict[str, np.ndarray]:
    """`[steps, T, n]`: gradients that drift, or turn round, or differ in length."""
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(size=shape)

    two, turning = normal(STEPS, 2, 4), normal(STEPS, 3, 5)
    two[1::2, 1] -= 1.5 * two[1::2, 0]
    turning[::2, 1] *= -1.0
    cases = {
        "two, at odds now and then": two,
        "three, drifting": normal(1, 3, 6) + 0.3 * normal(STEPS, 3, 6),
        "three, turning": turning,
        "five of unequal length": normal(STEPS, 5, 9) * np.logspace(-1, 1, 5)[:, None],
    }
    return {name: rows.round(3) for name, rows in cases.items()}


def weightings() -> dict[str, object]:
    """Those whose weights are exact (MGDA's and CAGrad's are not), fresh ones."""
    exact = QuadprogProjector(norm_eps=0.0, reg_eps=1e-10)
    return {
        "UPGrad": jd.UPGradWeighting(projector=exact),
        "DualProj": jd.DualProjWeighting(projector=exact),
        "IMTLG": jd.IMTLGWeighting(),
        "AlignedMTL": jd.AlignedMTLWeighting(),
    }


def main(out: Path) -> None:
    """Writes the weights step by step."""
    cases = {}
    for name, rows in sequences().items():
        weights = {}
        for rule in weightings():
            for alpha in ALPHAS:
                weighting = jd.CRMOGMWeighting(weightings()[rule], alpha=alpha)
                found = [
                    weighting(torch.tensor(x) @ torch.tensor(x).T).detach().numpy()
                    for x in rows
                ]
                weights[f"{rule}, {alpha}"] = [
                    [float(f"{v:.9g}") for v in step] for step in found
                ]
        cases[name] = {"jacobians": rows.tolist(), "weights": weights}
    head = {
        "made by": "benchmarks/peers/torchjd_cr_mogm.py",
        "torchjd": importlib.metadata.version("torchjd"),
        "torch": importlib.metadata.version("torch"),
    }
    text = json.dumps(head | {"cases": cases}, indent=1)
    text = re.sub(r"\[[^][{}]*\]", lambda m: " ".join(m[0].split()), text)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
