"""The table of rules (`auxjax.rules`), and how scripts name them."""

from __future__ import annotations

from collections.abc import Sequence

from auxjax.rules import AUXILIARY, KINDS, RULES, WEIGHTING, Rule, Setting

__all__ = [
    "AUXILIARY",
    "KINDS",
    "RULES",
    "WEIGHTING",
    "Rule",
    "Setting",
    "check_names",
    "spelled_out",
]


def spelled_out(names: tuple[str, ...], defaults: tuple[str, ...]) -> tuple[str, ...]:
    """The papers' short names in full: `multi`, and `autolambda` as in the defaults.

    Example:
      >>> spelled_out(("multi", "autolambda"), ("equal", "gcs", "autolambda-all"))
      ('equal', 'autolambda-all')
    """
    own = tuple(name for name in defaults if name.startswith("autolambda-"))
    full = {"multi": ("equal",), "autolambda": own or ("autolambda-main",)}
    return tuple(long for name in names for long in full.get(name, (name,)))


def check_names(field: str, names: Sequence[str], known: Sequence[str]) -> None:
    """A ValueError that lists the names where one is unknown.

    Args:
      field: what the command line calls them.
      names: what it says.
      known: what it may say.
    """
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(
            f"`{field}` should be among {', '.join(known)}. Found {', '.join(unknown)}."
        )
