"""A frozen dataclass as a command line."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from auxjax.run._describe import first_commit
from auxjax.run._errors import extra


def parse(
    config: Any, *, description: str | None = None, args: Sequence[str] | None = None
) -> Any:
    """Reads the command line into the dataclass `config`.

    Every field is an option, its docstring the help text. An unknown option, a value
    of the wrong type, or a `ValueError` from the dataclass's `__post_init__` ends the
    program with exit code 2 and one message, no traceback.

    Args:
      config: the dataclass, or an instance of it that holds other defaults.
      description: the first lines of `--help`; the class's docstring if None.
      args: the words of the command line; those of the program if None.

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
    first_commit()  # before anything is run, and perhaps changed meanwhile
    with extra("rl"):
        import tyro

    if isinstance(config, type):
        return tyro.cli(config, description=description, args=args)
    return tyro.cli(type(config), default=config, description=description, args=args)
