"""Where a script's results go, and what is told of them."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from auxjax.run import new_folder, print_table

NOTHING = "A smoke run: its numbers say nothing."


def choose_folder(config: Any, stem: str) -> Path:
    """The run's folder: the one named, or the next free one of the default name.

    Args:
      config: has `out`, the folder of all runs, and `name`, `smoke` and, where a run
        can go on, `resume`.
      stem: the default name.

    Returns:
      The folder; a smoke run's is never that of another run. One of the default name
      is made at once: two runs that start together do not share it.

    Raises:
      RunError: it cannot be made.
    """
    out, smoke = config.out.expanduser(), "-smoke" * config.smoke
    if config.name is not None:
        return out / f"{config.name}{smoke}"
    first = out / f"{stem}{smoke}"
    if getattr(config, "resume", False):
        others = (first.with_name(f"{first.name}-{i}") for i in itertools.count(2))
        taken = [*itertools.takewhile(Path.exists, itertools.chain([first], others))]
        if taken:
            return taken[-1]
    return new_folder(first)


def unless_said(
    choices: Mapping[str, Any], args: Sequence[str] | None
) -> dict[str, Any]:
    """Those of the choices that the command line leaves open.

    Example:
      >>> unless_said({"source": "digits", "method": ("gcs",)}, ["--method", "equal"])
      {'source': 'digits'}
    """
    words = sys.argv[1:] if args is None else args
    said = {word.partition("=")[0].replace("_", "-") for word in words}
    return {
        name: value
        for name, value in choices.items()
        if f"--{name}".replace("_", "-") not in said
    }


def verdicts(config: Any, find: Callable[..., Any], *args: Any) -> Any:
    """What `find` says of the results; nothing of those of a smoke run."""
    return [] if config.smoke else find(*args)


def write_text(path: Path, *parts: str) -> None:
    """Paragraphs into a file, in UTF-8 whatever the terminal speaks."""
    text = "\n\n".join(part.strip("\n") for part in parts if part)
    path.write_text(text + "\n", encoding="utf-8")


def tell(
    config: Any,
    tables: Mapping[str, Sequence[Mapping[str, Any]]],
    lines: Sequence[str],
    where: Any,
) -> None:
    """Prints tables, lines and where they were written: after they were written."""
    for title, rows in tables.items():
        print_table(rows, title)
    for line in lines:
        print(line)
    if config.smoke:
        print(NOTHING)
    print(f"Written to {where}")
