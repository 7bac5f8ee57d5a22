"""What a rule knows about the tasks, for a log."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

QUANTITIES = ("weights", "cosines", "norms", "meta_gradient")


def task_metrics(opt_state: Any) -> dict[str, jax.Array]:
    """Weights, cosines and norms of the tasks, `[T]` each, out of an optimizer's state.

    Looks for rules anywhere in the state: inside `optax.chain`, `optax.masked`,
    `autolambda`, or beside the parameters in your own train state. Works under `jit`.

    Args:
      opt_state: a pytree with rules' states in it.

    Returns:
      A dict with `"weights"`, `"cosines"`, `"norms"`, `"meta_gradient"`, as far as a
      rule has them. Where several rules have weights, `"weights"` is their product,
      the factor that a row was scaled by in all, and each rule's own are there too, as
      `"olaux/weights"`; of other quantities the first rule's have the short name.

    Example:
      >>> import jax.numpy as jnp
      >>> import optax
      >>> import auxjax
      >>> tx = optax.chain(auxjax.scale_by_fixed([1.0, 0.5]), auxjax.olaux())
      >>> metrics = auxjax.task_metrics(tx.init(jnp.zeros(3)))
      >>> {name: value.tolist() for name, value in metrics.items()}
      {'weights': [1.0, 0.5], 'fixed/weights': [1.0, 0.5], 'olaux/weights': [1.0, 1.0]}
    """
    found: dict[str, list[tuple[str, jax.Array]]] = {}
    for rule, state in _rules(opt_state):
        for name in QUANTITIES:
            value = getattr(state, name, None)
            if value is not None and jnp.ndim(value) == 1:
                found.setdefault(name, []).append((rule, value))
    metrics = {}
    for name, entries in found.items():
        total = entries[0][1]
        for _, value in entries[1:] if name == "weights" else ():
            total = total * value
        metrics[name] = total
        if len(entries) > 1:
            metrics.update({f"{rule}/{name}": value for rule, value in entries})
    return metrics


def _rules(tree: Any) -> list[tuple[str, Any]]:
    """The states of rules in a pytree, in order, each with its rule's name."""
    found = []

    def is_rule(node):
        return any(hasattr(node, name) for name in QUANTITIES) and hasattr(
            node, "_fields"
        )

    def visit(node):
        if is_rule(node):
            name = type(node).__name__.removesuffix("State").lower()
            found.append((name, node))
            children = list(node)
        else:
            children = jax.tree.leaves(
                node, is_leaf=lambda x: x is not node and is_rule(x)
            )
        for child in children:
            if child is not node and not isinstance(child, jax.Array):
                visit(child)

    visit(tree)
    return found
