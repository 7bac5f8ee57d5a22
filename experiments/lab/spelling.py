"""Options and values that had other names: commands of older results still work."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence


def in_todays_words(
    args: Sequence[str] | None,
    options: Mapping[str, str],
    values: Mapping[str, Mapping[str, str]] | None = None,
) -> list[str]:
    """A command line with its older words replaced; each is named on stderr.

    Args:
      args: the words of the command line; None: those of the program.
      options: what options are called now, `{"--methods": "--method"}`.
      values: what their values are called now, by option.

    Example:
      >>> names = {"--method": {"none": "single"}}
      >>> words = ["--methods", "none", "olaux", "--name", "none"]
      >>> in_todays_words(words, {"--methods": "--method"}, names)
      ['--method', 'single', 'olaux', '--name', 'none']
    """
    option, words = "", []
    for word in sys.argv[1:] if args is None else args:
        now = word
        if word.startswith("--"):
            option, equals, value = word.partition("=")
            option = option.replace("_", "-")
            option = options.get(option, option)
            now = f"{option}{equals}{value}"
        else:
            now = (values or {}).get(option, {}).get(word, word)
        if now.replace("_", "-") != word.replace("_", "-"):
            print(f"`{word}` is called `{now}`.", file=sys.stderr)
        words.append(now)
    return words
