"""One figure and one table from several finished comparisons of `atari_a2c.py`.

    python experiments/summarise_a2c.py runs/Breakout runs/Asterix runs/SpaceInvaders

leaves `runs/summary/`: `learning_curves.png`, `weights.png` and `a2c.md`. The folders
are what `atari_a2c.py` left behind, one subfolder per method.
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
    from lab.folders import choose_folder, publish
    from lab.report import write_text


@dataclasses.dataclass(frozen=True)
class Config:
    """Which runs, and where to put what is made of them.

    Attributes:
      folders: one comparison each.
      out: the folder that runs are put in.
      name: the folder in it for figures and table; by default the next free one.
      publish: also copy them to where the repository keeps them, `a2c/results/`.
    """

    folders: Annotated[tuple[Path, ...], tyro.conf.Positional]
    out: Path = Path("runs")
    name: str | None = None
    publish: bool = False

    def __post_init__(self):
        """Checks what the command line said."""
        if not self.folders:
            raise ValueError("`folders` should name at least one. Found none.")


def main(args: Sequence[str] | None = None) -> None:
    """Reads, draws and writes."""
    with plain_errors():
        summarise(parse(Config, description=__doc__, args=args))


def summarise(config: Config) -> None:
    """Two figures and a table."""
    games = dict(summary.read_comparison(folder) for folder in config.folders)
    folder = choose_folder(config, "summary")
    folder.mkdir(parents=True, exist_ok=True)
    rows = table_markdown(summary.table(games))
    write_text(folder / "a2c.md", rows)
    files = [folder / "a2c.md", *summary.draw(games, folder)]
    where = str(folder)
    if config.publish:
        where += f" and {publish(files, '', 'a2c', None)}"
    print(rows)
    print(f"Written to {where}")


if __name__ == "__main__":
    main()
