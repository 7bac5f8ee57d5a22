"""One training of `celeba.py`: of all attributes, or of one that the others help."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from attributes.data import Split
from attributes.host import HostAdvance
from attributes.problem import make_problem
from auxjax.run import write_json
from lab.curves import Curves
from lab.loop import Advance, train
from lab.rules import RULES


def learn(
    config: Any, split: Split, method: str, primary: int | None, path: Path
) -> Curves:
    """One method; what an epoch took is kept, for a run that is only read again."""
    names = split.train.names
    curves, _ = train(
        make_problem(config, split, primary),
        method,
        config,
        path,
        label=method if primary is None else f"{names[primary]}: {method}",
        second_stream="reshuffled" if "meta_losses" in RULES[method].takes else "same",
        make_advance=HostAdvance if config.loader == "host" else Advance,
    )
    kept = path / "seconds.json"
    if np.isfinite(curves.seconds):
        write_json(kept, {"seconds per epoch": curves.seconds})
    elif kept.exists():
        seconds = json.loads(kept.read_text("utf-8"))["seconds per epoch"]
        curves = curves._replace(seconds=seconds)
    return curves
