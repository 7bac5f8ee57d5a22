"""What a rule knows about the tasks, for a log."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

QUANTITIES = (
    "weights",
    "applied",
    "cosines",
    "norms",
    "meta_gradient",
    "signal_to_noise",
    "share_positive",
    "nonfinite",
)
ROOMS = ("auxjax.weighting.", "auxjax.aggregation.")


def task_metrics(opt_state: Any) -> dict[str, jax.Array]:
    """Weights, cosines and norms of the tasks, `[T]` each, out of an optimizer's state.

    Looks for rules anywhere in the state: inside `optax.chain`, `optax.masked`,
    `autolambda`, or beside the parameters in your own train state. A rule of your own
    is found if its state is a NamedTuple called `…State`. Works under `jit`.

    Args:
      opt_state: a pytree with rules' states in it.

    Returns:
      A dict with `"weights"`, `"cosines"`, `"norms"`, `"meta_gradient"`, as far as a
      rule has them, `"signal_to_noise"` and `"share_positive"` of `monitor_tasks`,
      `"applied"` of `scale_to_sum`, and `"nonfinite"`: how often a task that was
      present had a loss or a gradient that was NaN or infinite, and so counted as
      absent. Where several rules have a quantity, each rule's own is there too, as
      `"olaux/weights"`, and the short name has the product of the weights (of
      `scale_to_sum` and logarithms `"applied"` alone knows), the largest count of
      `"nonfinite"`, and of the others the first rule's.

    Example:
      >>> import jax.numpy as jnp
      >>> import optax
      >>> import auxjax
      >>> tx = optax.chain(auxjax.scale_by_fixed([1.0, 0.5]), auxjax.olaux())
      >>> metrics = auxjax.task_metrics(tx.init(jnp.zeros(3)))
      >>> {k: v.tolist() for k, v in metrics.items()}  # doctest: +NORMALIZE_WHITESPACE
      {'weights': [1.0, 0.5], 'fixed/weights': [1.0, 0.5], 'olaux/weights': [1.0, 1.0],
      'nonfinite': [0, 0], 'fixed/nonfinite': [0, 0], 'olaux/nonfinite': [0, 0]}
    """
    by_quantity: dict[str, list[tuple[str, jax.Array]]] = {}
    for rule, state in _rules(opt_state):
        for name in QUANTITIES:
            value = getattr(state, name, None)
            if value is not None and jnp.ndim(value) == 1:
                by_quantity.setdefault(name, []).append((rule, value))
    metrics = {}
    for name, entries in by_quantity.items():
        values = [value for _, value in entries]
        metrics[name] = functools.reduce(TOGETHER.get(name, _first), values)
        if len(entries) > 1:
            metrics.update({f"{rule}/{name}": value for rule, value in entries})
    return metrics


def _first(value: jax.Array, other: jax.Array) -> jax.Array:
    del other
    return value


TOGETHER = {"weights": jnp.multiply, "nonfinite": jnp.maximum}
"""What the quantities of several rules make together, where it is not the first's."""


def _rules(tree: Any) -> list[tuple[str, Any]]:
    """The states of rules in a pytree, in order, each with its rule's name."""
    states = []

    def is_rule(node):  # by its class, as anybody's tuple may have a field `weights`
        kind = type(node)
        is_ours = kind.__module__.startswith(ROOMS)
        is_like_ours = kind.__name__.endswith("State") and any(
            hasattr(node, name) for name in QUANTITIES
        )
        return hasattr(kind, "_fields") and (is_ours or is_like_ours)

    def visit(node):
        if is_rule(node):
            name = type(node).__name__.removesuffix("State").lower()
            states.append((name, node))
            children = list(node)
        else:
            children = jax.tree.leaves(
                node, is_leaf=lambda x: x is not node and is_rule(x)
            )
        for child in children:
            if child is not node and not isinstance(child, jax.Array):
                visit(child)

    visit(tree)
    return states
