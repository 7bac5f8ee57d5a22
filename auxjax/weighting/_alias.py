"""The short name of a rule: its row transform with the sum behind it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import ParamSpec

import optax

from auxjax.aggregation import sum_tasks

Options = ParamSpec("Options")


def summed(
    rule: Callable[Options, optax.GradientTransformationExtraArgs],
) -> Callable[[Callable], Callable[Options, optax.GradientTransformationExtraArgs]]:
    """Makes a rule's alias, which sums its rows: `chain(rule(...), sum_tasks())`.

    It decorates a function without a body, of which name and docstring are taken; what
    the alias takes, and `help` says of it, is what the rule takes.

    Args:
      rule: `scale_by_x`.
    """

    def decorate(named):
        @functools.wraps(rule)
        def alias(*args: Options.args, **kwargs: Options.kwargs):
            return optax.chain(rule(*args, **kwargs), sum_tasks())

        for name in ("__module__", "__name__", "__qualname__"):
            setattr(alias, name, getattr(named, name))
        alias.__doc__ = _explained(named, rule)
        return alias

    return decorate


def _explained(named: Callable, rule: Callable) -> str | None:
    """The alias's own words, and the arguments as the rule has them."""
    own, long = inspect.getdoc(named), inspect.getdoc(rule)
    if own is None or long is None:
        return own  # Python was told to leave docstrings out
    _, _, rest = long.partition("\nArgs:\n")
    arguments, _, _ = rest.partition("\n\nReturns:\n")
    return (
        f"{own}\n\nArgs:\n{arguments}\n\n"
        "Returns:\n  An aggregating transformation, Jacobian → gradient. Price\n"
        f"  and extra arguments are those of `{rule.__name__}`.\n\n"
        f"Raises:\n  ValueError: as `{rule.__name__}`.\n"
    )
