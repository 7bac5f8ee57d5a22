"""Where a script's results go: its run's folder; on request, the committed ones."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from auxjax.run import new_folder

EXPERIMENTS = Path(__file__).parents[1]


def choose_folder(config: Any, stem: str) -> Path:
    """The run's folder: the one named, or the next free one of the default name.

    Args:
      config: has `out`, the folder of all runs, and `name` and, where a run can be
        small or go on, `smoke` and `resume`.
      stem: the default name.

    Returns:
      The folder; a smoke run's is never that of another run. One of the default name
      is made at once: two runs that start together do not share it.

    Raises:
      RunError: it cannot be made.
    """
    out = config.out.expanduser()
    smoke = "-smoke" * getattr(config, "smoke", False)
    if config.name is not None:
        return out / f"{config.name}{smoke}"
    first = out / f"{stem}{smoke}"
    if getattr(config, "resume", False):
        others = (first.with_name(f"{first.name}-{i}") for i in itertools.count(2))
        taken = [*itertools.takewhile(Path.exists, itertools.chain([first], others))]
        if taken:
            return taken[-1]
    return new_folder(first)


def publish(files: Sequence[Path], stem: str, room: str, name: str | None) -> Path:
    """Copies a report to where the repository keeps it.

    Args:
      files: what was written, all of it named `stem…`.
      stem: the report's.
      room: the experiment's folder.
      name: what takes the stem's place in files and links; None: the stem.

    Returns:
      The folder that they are in now.
    """
    results, name = EXPERIMENTS / room / "results", name or stem
    results.mkdir(exist_ok=True)
    for file in files:
        target = results / file.name.replace(stem, name, 1)
        shutil.copyfile(file, target)
        if file.suffix == ".md":
            text = file.read_text("utf-8").replace(f"]({stem}", f"]({name}")
            target.write_text(text, encoding="utf-8")
    return results
