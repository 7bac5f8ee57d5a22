"""One figure and one table from several finished comparisons of `atari_a2c.py`.

    python experiments/summarise_a2c.py runs/Breakout runs/Asterix runs/SpaceInvaders

writes `learning_curves.png`, `weights.png` and `a2c.md` into `--out`. The folders are
what `atari_a2c.py` left behind, one subfolder per method.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from lab.start import needs

with needs("rl", "plots"):
    import tyro

    from a2c import summary
    from auxjax.run import parse, plain_errors, table_markdown
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


def main(args: Sequence[str] | None = None) -> None:
    """Reads, draws and writes."""
    with plain_errors():
        summarise(parse(Config, description=__doc__, args=args))


def summarise(config: Config) -> None:
    """Two figures and a table."""
    games = dict(summary.read_comparison(folder) for folder in config.folders)
    config.out.mkdir(parents=True, exist_ok=True)
    summary.draw(games, config.out)
    rows = table_markdown(summary.table(games))
    write_text(config.out / "a2c.md", rows)
    print(rows)
    print(f"Written to {config.out}")


if __name__ == "__main__":
    main()
