"""A frozen dataclass as a command line."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from auxjax._extras import extra
from auxjax.run._describe import first_commit
from auxjax.run._errors import RunError, plain_errors
from auxjax.run._terminal import plain_text


def parse(
    config: Any,
    *,
    description: str | None = None,
    args: Sequence[str] | None = None,
    smoke: Mapping[str, Any] | None = None,
) -> Any:
    """Reads the command line into the dataclass `config`.

    Every field is an option, its docstring the help text. An unknown option, a value
    of the wrong type, or a `ValueError` from the dataclass's `__post_init__` ends the
    program with exit code 2 and one message, no traceback.

    Args:
      config: the dataclass, or an instance of it that holds other defaults.
      description: the first lines of `--help`; the class's docstring if None.
      args: the words of the command line; those of the program if None.
      smoke: what `--smoke` makes small, field -> value; the dataclass has a field
        `smoke`. With `--smoke` these values are in the instance, and an option that
        they would override ends the program like a wrong one.

    Returns:
      An instance of the dataclass.

    Raises:
      ValueError: `config` is no dataclass.

    Example:
      >>> @dataclasses.dataclass(frozen=True)
      ... class Config:
      ...     learning_rate: float = 1e-3
      >>> Config()
      Config(learning_rate=0.001)
      >>> parse(Config, args=["--learning-rate", "0.1"])
      Config(learning_rate=0.1)
    """
    if not dataclasses.is_dataclass(config):
        raise ValueError(
            "`config` should be a dataclass or an instance of one. "
            f"Found {type(config).__name__}."
        )
    plain_text()  # for the help, and for all that the program prints
    first_commit()  # before anything is run, and perhaps changed meanwhile
    with extra("run", "`parse`"):
        import tyro

    kind = config if isinstance(config, type) else type(config)
    default: dict[str, Any] = {} if isinstance(config, type) else {"default": config}
    chosen = tyro.cli(kind, **default, description=description, args=args)
    if not smoke or not chosen.smoke:
        return chosen
    with plain_errors():
        check_smoke(args, smoke)
    return dataclasses.replace(chosen, **smoke)


def check_smoke(args: Sequence[str] | None, overrides: Iterable[str]) -> None:
    """Refuses options that `--smoke` would override.

    `parse(..., smoke=...)` calls it; it is for scripts that find out for themselves
    what to make small.

    Args:
      args: the words of the command line; those of the program if None.
      overrides: the fields that `--smoke` sets.

    Raises:
      RunError: `--smoke` stands beside an option for one of these fields.

    Example:
      >>> check_smoke(["--smoke", "--out", "here"], {"epochs": 2})
      >>> check_smoke(["--smoke", "--epochs=50"], {"epochs": 2})
      Traceback (most recent call last):
      ...
      auxjax.run._errors.RunError: `--epochs` should not stand beside `--smoke`, ...
    """
    said = {_option(word) for word in (sys.argv[1:] if args is None else args)}
    if "--smoke" not in said:
        return
    options = [_option(f"--{name}") for name in overrides]
    lost = [
        x
        for x in options
        if {x, x.replace("--", "--no-", 1)} & said
        or any(word.startswith(f"{x}.") for word in said)  # of a dataclass inside
    ]
    if lost:
        raise RunError(
            f"`{' '.join(lost)}` should not stand beside `--smoke`, which sets it. "
            "Found both."
        )


def _option(word: str) -> str:
    """The option in a word, as `--some-name`: underscores and `=value` will do too."""
    return word.partition("=")[0].replace("_", "-")
