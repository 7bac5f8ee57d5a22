"""One folder per run: its configuration, metrics, checkpoints and figures."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from auxjax.run._errors import RunError, writing
from auxjax.run._json import to_json, write_json
from auxjax.run._lock import LOCK, hold

_ABSENT = "nothing"


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """Where the parts of a run lie.

    Attributes:
      path: the folder itself.
    """

    path: Path

    @property
    def config(self) -> Path:
        """The configuration, JSON."""
        return self.path / "config.json"

    @property
    def metrics(self) -> Path:
        """The metrics, one JSON object per line."""
        return self.path / "metrics.jsonl"

    @property
    def checkpoint(self) -> Path:
        """The folder of the checkpoints, one subfolder per step."""
        return self.path / "checkpoint"

    def figure(self, name: str) -> Path:
        """The file of the figure called `name`, PNG."""
        return self.path / f"{name}.png"


def open_run(
    path: str | Path,
    config: Any,
    *,
    resume: bool = False,
    may_differ: Sequence[str] = (),
) -> RunFolder:
    """Makes the folder of a run, or finds it again, and keeps other processes out.

    The folder belongs to this process until it ends, in whatever way: a second process
    would write into the same metrics and checkpoints.

    Args:
      path: the folder; parents are made as needed.
      config: the run's configuration, a dataclass; nested ones are fine.
      resume: whether to go on with the run that is there. Where none is, a new one
        starts and a note says so.
      may_differ: the fields that a resumed run may change, dotted where nested, such
        as the number of steps. A name stands for all that is below it.

    Returns:
      The folder, with `config.json` written.

    Raises:
      RunError: a run is there and `resume` is off; it had another configuration;
        another process is at work in it; the folder holds something else; or it cannot
        be written.

    Example:
      >>> import tempfile
      >>> @dataclasses.dataclass(frozen=True)
      ... class Config:
      ...     seed: int = 0
      >>> with tempfile.TemporaryDirectory() as parent:
      ...     run = open_run(f"{parent}/first", Config())
      ...     print(run.config.read_text())
      {
        "class": "Config",
        "seed": 0
      }
    """
    run = RunFolder(_at_home(path))
    with writing(run.path):
        run.path.mkdir(parents=True, exist_ok=True)
        hold(run.path)
        items = sorted(item.name for item in run.path.iterdir() if item.name != LOCK)
    if items and not resume:
        kind = "a run" if run.config.exists() else _few(items)
        raise RunError(
            f"`{run.path}` should be a new or empty folder. Found {kind}: pass "
            "--resume to go on with a run, or choose another folder."
        )
    if items and not run.config.exists():
        raise RunError(
            f"`{run.path}` should hold the config.json of the run to resume. "
            f"Found {_few(items)}."
        )
    if items:
        _check_same(run, to_json(config), may_differ)
    elif resume:
        print(f"No run to resume in {run.path}: starting a new one.", file=sys.stderr)
    write_json(run.config, config)
    return run


def new_folder(path: str | Path) -> Path:
    """Makes a folder that nobody else has: the one named, or the next free name.

    Two programs that start together under one name each get their own.

    Args:
      path: the first choice; parents are made as needed.

    Returns:
      The folder, empty: `path`, or `path-2`, `path-3`, ….

    Raises:
      RunError: it cannot be made.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as parent:
      ...     [new_folder(f"{parent}/digits").name for _ in range(3)]
      ['digits', 'digits-2', 'digits-3']
    """
    first = _at_home(path)
    with writing(first):
        first.parent.mkdir(parents=True, exist_ok=True)
    folder, number = first, 1
    while not _is_made(folder):
        number += 1
        folder = first.with_name(f"{first.name}-{number}")
    return folder


def _is_made(folder: Path) -> bool:
    """Makes the folder; False where one is there."""
    with writing(folder), contextlib.suppress(FileExistsError):
        folder.mkdir()
        return True
    return False


def _at_home(path: str | Path) -> Path:
    """The path with its `~` spelled out."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise RunError(
            f"`{path}` should be a folder that can be found. Found no home directory."
        ) from error


def _check_same(run: RunFolder, expected: Any, may_differ: Sequence[str]) -> None:
    """Raises unless the folder's configuration is the expected one."""
    try:
        saved = json.loads(run.config.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(
            f"`{run.config}` should be a readable JSON file. Found: {error}."
        ) from error
    old, new = _flatten(saved), _flatten(expected)
    differing = [
        f"  `{name}` should be {_show(old, name)}. Found {_show(new, name)}."
        for name in [*old, *(name for name in new if name not in old)]
        if _show(old, name) != _show(new, name)
        and not any(name == free or name.startswith(free + ".") for free in may_differ)
    ]
    if differing:
        raise RunError(
            f"The run in `{run.path}` has another configuration:\n"
            + "\n".join(differing)
            + "\nChange these back, or choose another folder."
        )


def _flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Nested dicts as one, keyed by dotted names."""
    flat = {}
    for key, value in tree.items():
        inner = isinstance(value, dict) and bool(value)
        flat |= _flatten(value, f"{prefix}{key}.") if inner else {prefix + key: value}
    return flat


def _show(flat: dict[str, Any], name: str) -> str:
    return json.dumps(flat[name]) if name in flat else _ABSENT


def _few(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" * (len(names) > 5))
