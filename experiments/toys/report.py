"""What came of `toy_quadratics.py`: the claims with what was measured, the figures."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lab.report import Report
from toys import figures
from toys.problems import GCS_PROBLEMS, L1, alignment
from toys.words import Claims


def drawings(runs: Mapping[str, Any]) -> dict[str, Callable[[Path], None]]:
    """The papers' figures: by name, what draws them at a path."""
    mains = {name: problem.main for name, problem in GCS_PROBLEMS.items()}
    alignments = {
        name: functools.partial(alignment, problem)
        for name, problem in GCS_PROBLEMS.items()
    }

    def random(*names):
        shown = {name: runs["random"][name] for name in names}
        return functools.partial(figures.gcs_random, shown, mains, alignments)

    return {
        "olaux_figure2": functools.partial(figures.olaux, runs["olaux"], L1),
        "gcs_figure2": functools.partial(figures.gcs_grid, runs["examples"], mains),
        "gcs_figure8": random("L1 + L3", "L1 + V"),
        "gcs_figure9": random("L2 + L4"),
    }


def report(config: Any, runs: Mapping[str, Any], claims: Claims) -> Report:
    """The claims that were checked, none in a smoke run, and the figures."""
    about = (
        f"{config.starts} random starting points, {config.steps} steps of "
        f"{config.step_size} ({config.long_steps:,} where it is said), in float64; for "
        f"OL-AUX four corners, α = {config.olaux_step_size} and βα = "
        f"{config.olaux_learning_rate}. A run has converged where its main loss is "
        "below 0.1."
    )
    return Report(
        stem="toy",
        room="toys",
        script="toy_quadratics.py",
        title="The papers' problems in the plane",
        about=about,
        tables={"The papers' claims": claims} if claims else {},
        numbers={"claims": claims},
        figures=drawings(runs),
    )
