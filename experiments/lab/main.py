"""A script's main function: read the command line, then run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from auxjax.run import parse, plain_errors, use_compilation_cache
from lab.options import unless_said
from lab.spelling import todays_options
from lab.start import quick_compilation


def start(
    config: type,
    run: Callable[[Any], Any],
    args: Sequence[str] | None,
    doc: str | None,
    smoke: Mapping[str, Any],
    choices: Mapping[str, Any] | Callable[[Any], Mapping[str, Any]] | None = None,
) -> Any:
    """Reads the command line and runs; an error of the user's is one line.

    Args:
      config: the script's dataclass.
      run: what to do with an instance of it.
      args: the words of the command line; None: those of the program.
      doc: the first lines of `--help`.
      smoke: what `--smoke` makes small, field -> value; options that would be
        overridden are refused.
      choices: what `--smoke` chooses where the command line does not; or what says so
        of the instance.

    Returns:
      What `run` returns.
    """
    args = todays_options(args)
    with plain_errors():
        chosen = parse(config, description=doc, args=args, smoke=smoke)
        if chosen.smoke and choices:
            choices = choices(chosen) if callable(choices) else choices
            chosen = dataclasses.replace(chosen, **unless_said(choices, args))
        use_compilation_cache()
        with quick_compilation(chosen.smoke):
            return run(chosen)
