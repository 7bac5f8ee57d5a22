"""Several finished comparisons: one figure each of returns and weights, and a table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from a2c.report import final_returns, smoothed
from a2c.run import Curves, read_curves
from auxjax.rl import METHOD_ALIASES, METHODS
from auxjax.run import (
    RunError,
    RunFolder,
    line_styles,
    mean_std,
    plot_grid,
    short_number,
)

Games = Mapping[str, Mapping[str, Curves]]
"""`{game: {method: curves}}`."""


def read_comparison(folder: Path) -> tuple[str, dict[str, Curves]]:
    """The game, and the curves of every method that has run in a folder.

    Older runs lie under the names that methods had then.

    Raises:
      RunError: there are no runs, or runs of several games.
    """
    older = {now: name for name, now in METHOD_ALIASES.items()}
    curves, games = {}, set()
    for method in METHODS:
        names = dict.fromkeys((older.get(method, method), method))
        for run in (RunFolder(folder / name) for name in names):
            if not run.metrics.exists():
                continue
            config = json.loads(run.config.read_text("utf-8"))
            auxiliary = [] if method == "single" else config["aux"]
            curves[method] = read_curves(run, ("main", *auxiliary), float("nan"))
            games.add(config["env"])
    if len(games) != 1:
        raise RunError(
            f"`{folder}` should hold one game's runs, a subfolder per method. "
            f"Found {', '.join(sorted(games)) or 'no runs'}."
        )
    return games.pop(), curves


def draw(games: Games, folder: Path) -> list[Path]:
    """`learning_curves.png`, and `weights.png` where some learn; returns which."""
    ran = [m for m in METHODS if any(m in curves for curves in games.values())]
    returns = {
        game: {method: (c.frames, smoothed(c.returns)) for method, c in curves.items()}
        for game, curves in games.items()
    }
    drawn = [folder / "learning_curves.png"]
    plot_grid(returns, drawn[0], styles=line_styles(ran))
    weights = {
        f"{game}: {method}": {
            task: (c.frames, c.weights[:, :, 1 + i])
            for i, task in enumerate(c.tasks[1:])
        }
        for game, curves in games.items()
        for method, c in curves.items()
        if method.startswith("olaux")
    }
    if weights:
        drawn.append(folder / "weights.png")
        plot_grid(weights, drawn[-1], ylabel="weight")
    return drawn


def table(games: Games) -> list[dict[str, Any]]:
    """A row per game and method."""
    return [
        {
            "game": game,
            "frames": short_number(int(c.frames[-1])),
            "seeds": len(c.returns),
            "method": method,
            "final return": mean_std(final_returns(c), digits=2),
            "mean over the run": mean_std(np.nanmean(c.returns, axis=1), digits=2),
        }
        for game, curves in games.items()
        for method, c in curves.items()
    ]
