"""What every script's command line has, and what a run that goes on may change."""

from __future__ import annotations

import dataclasses
import math
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

MAY_DIFFER = "may_differ"


def free(default: Any) -> Any:
    """A field that a run which goes on may change; all others it must not.

    Example:
      >>> @dataclasses.dataclass(frozen=True)
      ... class Config:
      ...     seeds: int = 3
      ...     quiet: bool = free(False)
      >>> may_differ(Config())
      ('quiet',)
    """
    return dataclasses.field(default=default, metadata={MAY_DIFFER: True})


def may_differ(config: Any) -> tuple[str, ...]:
    """The names of a dataclass's fields that are `free`, for `auxjax.run.open_run`."""
    fields = dataclasses.fields(config)
    return tuple(field.name for field in fields if field.metadata.get(MAY_DIFFER))


@dataclasses.dataclass(frozen=True)
class Options:
    """What every script's command line has.

    Attributes:
      out: the folder that runs are put in.
      name: the run's folder in it; by default the next free one.
      resume: go on with the run that is there.
      publish: also copy tables, numbers and figures to where the repository keeps
        them, `results/` in the experiment's folder.
      smoke: seconds, to see that everything works.
      quiet: show no progress.
    """

    out: Path = free(Path("runs"))
    name: str | None = free(None)
    resume: bool = free(False)
    publish: bool = free(False)
    smoke: bool = False
    quiet: bool = free(False)

    def __post_init__(self):
        """Checks what the command line said."""
        if self.publish and self.smoke:
            raise ValueError("`publish` should not be said with `smoke`. Found both.")
        if self.publish and self.name and Path(self.name).name != self.name:
            raise ValueError(
                "`name` should have no folder in it where `publish` is said: files are "
                f"called so. Found {self.name}."
            )

    def at_least_one(self, *names: str) -> None:
        """Raises a ValueError where one of these fields is below 1; None will do."""
        for name in names:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"`{name}` should be at least 1. Found {value}.")

    def above_zero(self, *names: str) -> None:
        """Raises a ValueError where one is not above 0, or infinite; None will do."""
        for name in names:
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"`{name}` should be above 0. Found {value}.")

    def each_once(self, *names: str, empty: bool = False) -> None:
        """Raises a ValueError where one names something twice, or nothing at all."""
        for name in names:
            values = getattr(self, name)
            if len(set(values)) < len(values) or not (values or empty):
                some = "" if empty else "at least one, and "
                raise ValueError(
                    f"`{name}` should name {some}each once. "
                    f"Found {' '.join(map(str, values)) or 'none'}."
                )


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


def settings(config: Any) -> dict[str, Any]:
    """What was computed: all fields but where it went, with no folder's name."""
    own = {field.name for field in dataclasses.fields(Options)}
    fields = {x.name: getattr(config, x.name) for x in dataclasses.fields(config)}
    return {
        name: "FOLDER" if isinstance(value, Path) else value
        for name, value in fields.items()
        if name not in own
    }


def command(script: str, config: Any) -> str:
    """The command line that gives these settings.

    Example:
      >>> @dataclasses.dataclass(frozen=True)
      ... class Config(Options):
      ...     seeds: int = 3
      ...     augment: bool = True
      >>> command("dense.py", Config(seeds=5, augment=False, quiet=True))
      'python experiments/dense.py --seeds 5 --no-augment'
    """
    words = ["python", f"experiments/{script}"]
    defaults = _flat(settings(type(config)()))
    for name, value in _flat(settings(config)).items():
        option = name.replace("_", "-")
        if value == defaults[name]:
            continue
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        elif isinstance(value, tuple):
            words += [f"--{option}", *map(str, value)]
        else:
            words += [f"--{option}", str(value)]
    return shlex.join(words)


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Options by name; those of a dataclass inside have a dot in it."""
    options: dict[str, Any] = {}
    for name, value in settings.items():
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            inner = _flat(vars(value))
            options |= {f"{name}.{key}": own for key, own in inner.items()}
        else:
            options[name] = value
    return options
