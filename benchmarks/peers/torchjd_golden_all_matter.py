"""What TorchJD makes of rules for tasks that all matter: robust means, MoDo, scalars.

    python -m pip install torchjd==0.18.0
    python benchmarks/peers/torchjd_golden_all_matter.py \
        tests/aggregation/golden/torchjd_all_matter.json

Runs in an environment of its own; auxjax is not imported. The Jacobians are those of
torchjd_golden.py, in float64. Krum and TrimmedMean are called on each; MoDoWeighting,
which remembers its weights, on five matrices one after the other; COSMOS and PBI are
differentiated by the losses, since their gradients are the weights.
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
from torchjd import scalarization
from torchjd_golden import jacobians

MODO = ({"gamma": 0.1, "rho": 0.1}, {"gamma": 0.02, "rho": 0.0})


def eight_digits(values: torch.Tensor) -> list:
    """A vector or a matrix as numbers of eight digits."""
    if values.ndim > 1:
        return [eight_digits(row) for row in values]
    return [float(f"{x:.8g}") for x in values.detach().numpy()]


def tensor(values: np.ndarray) -> torch.Tensor:
    """In float64."""
    return torch.tensor(np.asarray(values, np.float64))


def robust(rows: np.ndarray) -> dict[str, list[float]]:
    """Krum and TrimmedMean, where there are enough rows for them."""
    num_tasks = len(rows)
    found = {}
    for byzantine in range(3):
        for selected in (1, 2):
            if num_tasks >= max(byzantine + 3, selected):
                krum = jd.Krum(n_byzantine=byzantine, n_selected=selected)
                name = f"Krum({byzantine}, {selected})"
                found[name] = eight_digits(krum(tensor(rows)))
    for trimmed in range(4):
        if num_tasks >= 2 * trimmed + 1:
            mean = jd.TrimmedMean(trimmed)
            found[f"TrimmedMean({trimmed})"] = eight_digits(mean(tensor(rows)))
    return found


def modo() -> list[dict]:
    """The weights after each of five products J₁ J₂ᵀ of independent Jacobians."""
    rng = np.random.default_rng(3)
    cases = []
    for options in MODO:
        weighting = jd.MoDoWeighting(**options)
        pairs = rng.normal(size=(5, 2, 3, 4)).round(3)
        weights = [weighting(tensor(a @ b.T)) for a, b in pairs]
        cases.append(
            {
                "options": options,
                "pairs": pairs.reshape(5, -1).tolist(),
                "weights": [eight_digits(w) for w in weights],
            }
        )
    return cases


def scalars() -> list[dict]:
    """The gradients of COSMOS and PBI by the losses."""
    rng = np.random.default_rng(4)
    cases = []
    for num_tasks in (2, 3, 3, 5):
        losses = rng.uniform(0.1, 4.0, num_tasks).round(3)
        wish = rng.uniform(0.1, 1.0, num_tasks).round(3)
        ideal = rng.uniform(-1.0, 0.1, num_tasks).round(3)
        rules: dict[str, Callable] = {
            "COSMOS(2.0)": scalarization.COSMOS(2.0, tensor(wish)),
            "COSMOS(0.01)": scalarization.COSMOS(0.01, tensor(wish)),
            "PBI(5.0)": scalarization.PBI(5.0, tensor(wish)),
            "PBI(0.5, ideal)": scalarization.PBI(0.5, tensor(wish), tensor(ideal)),
        }
        case = {"losses": losses, "preference": wish, "ideal": ideal}
        case = {name: values.tolist() for name, values in case.items()}
        case["weights"] = {}
        for name, rule in rules.items():
            values = tensor(losses).requires_grad_()
            (slope,) = torch.autograd.grad(rule(values), values)
            case["weights"][name] = eight_digits(slope)
        cases.append(case)
    return cases


def main(out: Path) -> None:
    """Writes it all."""
    head = {
        "made by": "benchmarks/peers/torchjd_golden_all_matter.py",
        "torchjd": importlib.metadata.version("torchjd"),
        "torch": importlib.metadata.version("torch"),
    }
    rows = {
        name: {"jacobian": rows.tolist(), "outputs": robust(rows)}
        for name, rows in jacobians().items()
    }
    head |= {"cases": rows, "modo": modo(), "scalars": scalars()}
    text = json.dumps(head, indent=1)
    text = re.sub(r"\[[^][{}]*\]", lambda m: " ".join(m[0].split()), text)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
