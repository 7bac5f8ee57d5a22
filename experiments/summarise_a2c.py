"""One figure and one table from several finished comparisons of `atari_a2c.py`.

    python experiments/summarise_a2c.py runs/Breakout runs/Asterix runs/SpaceInvaders

writes `learning_curves.png`, `weights.png` and `a2c.md` into `--out`. The folders are
what `atari_a2c.py` left behind, one subfolder per method.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

from lab.start import needs

with needs("rl", "plots"):
    import numpy as np
    import tyro

    from a2c.report import final_returns, smoothed
    from a2c.run import Curves, read_curves
    from auxjax.rl import METHODS
    from auxjax.run import (
        RunError,
        RunFolder,
        line_styles,
        mean_std,
        parse,
        plain_errors,
        plot_grid,
        short_number,
        table_markdown,
    )
    from lab.report import write_text


@dataclasses.dataclass(frozen=True)
class Config:
    """Which runs, and where to put what is made of them.

    Attributes:
      folders: one comparison each.
      out: where the figures and the table go.
    """

    folders: Annotated[tuple[Path, ...], tyro.conf.Positional]
    out: Path = Path("runs/summary")


def read_comparison(folder: Path) -> tuple[str, dict[str, Curves]]:
    """The game, and the curves of every method found in a folder."""
    found, games = {}, set()
    for run in (RunFolder(folder / method) for method in METHODS):
        if run.metrics.exists():
            config = json.loads(run.config.read_text("utf-8"))
            main_only = config["method"] == "none"
            tasks = ("main",) if main_only else ("main", *config["aux"])
            found[run.path.name] = read_curves(run, tasks, float("nan"))
            games.add(config["env"])
    if len(games) != 1:
        raise RunError(
            f"`{folder}` should hold one game's runs, a subfolder per method. "
            f"Found {', '.join(sorted(games)) or 'no runs'}."
        )
    return games.pop(), found


def main(args: list[str] | None = None) -> None:
    """Reads, draws and writes."""
    with plain_errors():
        summarise(parse(Config, description=__doc__, args=args))


def summarise(config: Config) -> None:
    """Two figures and a table."""
    games = dict(read_comparison(folder) for folder in config.folders)
    config.out.mkdir(parents=True, exist_ok=True)
    methods = [m for m in METHODS if any(m in found for found in games.values())]
    panels = {
        game: {m: (c.frames, smoothed(c.returns)) for m, c in found.items()}
        for game, found in games.items()
    }
    plot_grid(panels, config.out / "learning_curves.png", styles=line_styles(methods))
    weights = {
        f"{game}: {method}": {
            task: (c.frames, c.weights[:, :, 1 + i])
            for i, task in enumerate(c.tasks[1:])
        }
        for game, found in games.items()
        for method, c in found.items()
        if method.startswith("olaux")
    }
    if weights:
        plot_grid(weights, config.out / "weights.png", ylabel="weight")
    rows = [
        {
            "game": game,
            "frames": short_number(int(c.frames[-1])),
            "seeds": len(c.returns),
            "method": method,
            "final return": mean_std(final_returns(c), digits=2),
            "mean over the run": mean_std(np.nanmean(c.returns, axis=1), digits=2),
        }
        for game, found in games.items()
        for method, c in found.items()
    ]
    write_text(config.out / "a2c.md", table_markdown(rows))
    print(table_markdown(rows))
    print(f"Written to {config.out}")


if __name__ == "__main__":
    main()
