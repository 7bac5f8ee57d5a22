"""One training of `celeba.py`: of all attributes, or of one that the others help."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attributes.data import Split
from attributes.host import HostAdvance
from attributes.problem import make_problem
from lab.curves import Curves
from lab.loop import Advance, train
from lab.rules import BY_NAME


def learn(
    config: Any, split: Split, method: str, primary: int | None, path: Path
) -> Curves:
    """One method."""
    names = split.train.names
    curves, _ = train(
        make_problem(config, split, primary),
        method,
        config,
        path,
        label=method if primary is None else f"{names[primary]}: {method}",
        second_stream="reshuffled"
        if "meta_losses" in BY_NAME[method].takes
        else "same",
        make_advance=HostAdvance if config.loader == "host" else Advance,
    )
    return curves
