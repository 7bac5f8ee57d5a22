"""Options and values that had other names: commands of older results still work."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

OPTIONS = {
    "--methods": "--method",
    "--auxiliary": "--aux",
    "--ppo-learning-rate": "--ppo.learning-rate",
    "--ppo-epochs": "--ppo.epochs",
    "--ppo-minibatch": "--ppo.minibatch-size",
    "--ppo-entropy": "--ppo.entropy-coef",
}
"""Of all scripts: an option's other name -> its name."""


def todays_options(args: Sequence[str] | None) -> list[str]:
    """A command line with its older options replaced; each is named on stderr.

    Args:
      args: the words of the command line; None: those of the program.

    Example:
      >>> todays_options(["--methods=gcs", "--name", "aux"])
      ['--method=gcs', '--name', 'aux']
    """
    words = []
    for word in sys.argv[1:] if args is None else args:
        option, equals, value = word.partition("=")
        now = OPTIONS.get(option.replace("_", "-"))
        if now is not None:
            say_name(option, now)
            word = f"{now}{equals}{value}"
        words.append(word)
    return words


def todays_values(values: Sequence[str], names: Mapping[str, str]) -> tuple[str, ...]:
    """An option's values with the older ones replaced; each is named on stderr.

    Args:
      values: what the command line says.
      names: what they are called now.

    Example:
      >>> todays_values(["none", "olaux"], {"none": "single"})
      ('single', 'olaux')
    """
    for value in values:
        if value in names:
            say_name(value, names[value])
    return tuple(names.get(value, value) for value in values)


def say_name(word: str, now: str) -> None:
    """A line on stderr."""
    print(f"`{word}` is called `{now}`.", file=sys.stderr)
