"""One way to say what came out: a page, the numbers, figures, and the terminal."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from auxjax.run import machine, print_table, table_markdown, write_json, writing
from lab.folders import publish
from lab.options import command, settings

NOTHING = "A smoke run: its numbers say nothing."

Rows = Sequence[Mapping[str, Any]]


@dataclasses.dataclass(frozen=True)
class Report:
    """What came out of an experiment.

    Attributes:
      stem: of the files' names.
      room: the experiment's folder in `experiments/`.
      script: the file's name, for the command that stands on the page.
      title: of the page.
      about: a paragraph: the data, how many seeds and steps, what ± means.
      tables: by title; an empty title has no heading on the page.
      numbers: for the JSON file, beside the configuration and the machine.
      figures: by name, what draws them at a path, or draws nothing. The name "" is
        that of the main one, `<stem>.png`; others are `<stem>_<name>.png`.
      verdicts: makes the lines that judge; not called in a smoke run.
      notes: paragraphs at the end of the page.
      shown: the tables on the terminal; None: those of the page.
    """

    stem: str
    room: str
    script: str
    title: str
    about: str
    tables: Mapping[str, Rows]
    numbers: Mapping[str, Any]
    figures: Mapping[str, Callable[[Path], Any]] = dataclasses.field(
        default_factory=dict
    )
    verdicts: Callable[[], Sequence[str]] = list
    notes: Sequence[str] = ()
    shown: Mapping[str, Rows] | None = None


def write(config: Any, report: Report, folder: Path) -> list[str]:
    """Draws and writes everything, then prints the tables and where it all is.

    Args:
      config: the script's, with `smoke`, `publish` and `name`.
      report: what came out.
      folder: the run's.

    Returns:
      The lines that judge.
    """
    verdicts = [] if config.smoke else [*report.verdicts()]
    facts = machine()
    page, numbers = (folder / f"{report.stem}{end}" for end in (".md", ".json"))
    said = {"command": command(report.script, config), "config": settings(config)}
    where = [str(folder)]
    with writing(folder):  # the numbers first, should the disk be full
        write_json(numbers, {**said, "machine": facts, **report.numbers})
        pictures = _draw(report, folder)
        lines = [NOTHING] if config.smoke else verdicts
        write_text(page, *_paragraphs(report, said["command"], facts, pictures, lines))
        if config.publish:
            files = [page, numbers, *pictures]
            where += [str(publish(files, report.stem, report.room, config.name))]
    tell(config, report.shown or report.tables, verdicts, " and ".join(where))
    return verdicts


def _draw(report: Report, folder: Path) -> list[Path]:
    """The pictures that there are."""
    pictures = []
    for name, draw in report.figures.items():
        picture = folder / f"{report.stem}{'_' * bool(name)}{name}.png"
        draw(picture)
        pictures += [picture] if picture.exists() else []
    return pictures


def _paragraphs(
    report: Report,
    said: str,
    facts: Mapping[str, Any],
    pictures: Sequence[Path],
    lines: Sequence[str],
) -> list[str]:
    """Those of the page."""
    described = ", ".join(f"{key} {value}" for key, value in facts.items())
    parts = [f"# {report.title}", f"    {said}"]
    parts += [f"{report.about} Machine: {described}."]
    parts += [f"![{_caption(report, picture)}]({picture.name})" for picture in pictures]
    for title, rows in report.tables.items():
        parts += [f"## {title}" * bool(title), table_markdown(rows) if rows else ""]
    return [*parts, "\n".join(f"- {line}" for line in lines), *report.notes]


def _caption(report: Report, picture: Path) -> str:
    name = picture.stem.removeprefix(report.stem).replace("_", " ").strip()
    return name or report.title


def number(value: float, digits: int = 2) -> str:
    """A table's cell; a dash where there is none.

    Example:
      >>> number(0.123), number(float("nan"))
      ('0.12', '–')
    """
    return f"{value:.{digits}f}" if math.isfinite(value) else "–"


def write_text(path: Path, *parts: str) -> None:
    """Paragraphs into a file, in UTF-8 whatever the terminal speaks."""
    text = "\n\n".join(part.strip("\n") for part in parts if part)
    path.write_text(text + "\n", encoding="utf-8")


def tell(
    config: Any, tables: Mapping[str, Rows], lines: Sequence[str], where: Any
) -> None:
    """Prints tables, lines and where they were written: after they were written."""
    for title, rows in tables.items():
        if rows:
            print_table(rows, title)
    for line in lines:
        print(line)
    if config.smoke:
        print(NOTHING)
    print(f"Written to {where}")
