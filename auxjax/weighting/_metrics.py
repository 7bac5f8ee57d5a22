"""What a rule knows about the tasks, for a log."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from auxjax._types import ArrayLike, Number

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


RUNS_AWAY = "negative_weight_on_grown_loss"
"""The metric that is a warning."""


def task_metrics(
    opt_state: Any,
    *,
    losses: ArrayLike | None = None,
    first_losses: ArrayLike | None = None,
    growth: Number = 10.0,
) -> dict[str, jax.Array]:
    """Weights, cosines and norms of the tasks, `[T]` each, out of an optimizer's state.

    Looks for rules anywhere in the state: inside `optax.chain`, `optax.masked`,
    `autolambda`, or beside the parameters in your own train state. A rule of your own
    is found if its state is a NamedTuple called `…State`. Works under `jit`.

    Told the losses of now and of the beginning it also warns, by
    `"negative_weight_on_grown_loss"` `[T]` (bool), of a task whose weight is below zero
    while its loss has grown tenfold. Such a task is trained to become worse; a loss
    without an upper bound (cross-entropy and squared errors have none) then grows
    without end. `clip_at_zero=True` of `olaux` and `autolambda` is against it.

    Args:
      opt_state: a pytree with rules' states in it.
      losses: `[T]`, those of now, as `jac.losses`.
      first_losses: `[T]`, those that training began with. One at or below zero is no
        measure of growth, and its task is never warned of.
      growth: how many times its first one a loss has to be.

    Returns:
      A dict with `"weights"`, `"cosines"`, `"norms"`, `"meta_gradient"`, as far as a
      rule has them, `"signal_to_noise"` and `"share_positive"` of `monitor_tasks`,
      `"applied"` of `scale_to_sum`, and `"nonfinite"`: how often a task that was
      present had a loss or a gradient that was NaN or infinite, and so counted as
      absent. Where several rules have a quantity, each rule's own is there too, as
      `"olaux/weights"`, and the short name has the product of the weights (of
      `scale_to_sum` and logarithms `"applied"` alone knows), the largest count of
      `"nonfinite"`, and of the others the first rule's. Of a rule inside `periodic` or
      `cr_mogm` the weights are those that are kept.

    Raises:
      ValueError: for `losses` without `first_losses` or the other way round, or not one
        of them for each weight.

    Example:
      >>> import jax.numpy as jnp
      >>> import optax
      >>> import auxjax
      >>> tx = optax.chain(auxjax.scale_by_fixed([1.0, 0.5]), auxjax.olaux())
      >>> metrics = auxjax.task_metrics(tx.init(jnp.zeros(3)))
      >>> {k: v.tolist() for k, v in metrics.items()}  # doctest: +NORMALIZE_WHITESPACE
      {'weights': [1.0, 0.5], 'fixed/weights': [1.0, 0.5], 'olaux/weights': [1.0, 1.0],
      'nonfinite': [0, 0], 'fixed/nonfinite': [0, 0], 'olaux/nonfinite': [0, 0]}
      >>> state = auxjax.fixed([1.0, -0.3]).init(jnp.zeros(3))
      >>> now, first = jnp.array([0.1, 400.0]), jnp.array([2.3, 1.0])
      >>> metrics = auxjax.task_metrics(state, losses=now, first_losses=first)
      >>> metrics["negative_weight_on_grown_loss"].tolist()
      [False, True]
    """
    if (losses is None) != (first_losses is None):
        raise ValueError(
            "`losses` and `first_losses` should be given together. "
            f"Found {'`losses`' if first_losses is None else '`first_losses`'} alone."
        )
    by_quantity: dict[str, list[tuple[str, jax.Array]]] = {}
    around: list[Any] = []  # states that keep the weights of a rule inside them
    for rule, state in _rules(opt_state):
        if hasattr(state, "weights") and hasattr(state, "inner_state"):
            around += [own for _, own in _rules(state.inner_state)]
        for name in QUANTITIES:
            value = getattr(state, name, None)
            is_told = name == "weights" and any(state is own for own in around)
            if value is not None and jnp.ndim(value) == 1 and not is_told:
                by_quantity.setdefault(name, []).append((rule, value))
    metrics = {}
    for name, entries in by_quantity.items():
        values = [value for _, value in entries]
        metrics[name] = functools.reduce(TOGETHER.get(name, _first), values)
        if len(entries) > 1:
            metrics.update({f"{rule}/{name}": value for rule, value in entries})
    if losses is not None and "weights" in metrics:
        metrics[RUNS_AWAY] = _runs_away(
            metrics["weights"], losses, first_losses, growth
        )
    return metrics


def _runs_away(
    weights: jax.Array, losses: Any, first_losses: Any, growth: Number
) -> jax.Array:
    """Which tasks `[T]` have a weight below zero and a loss that grew so many times."""
    now, first = jnp.asarray(losses), jnp.asarray(first_losses)
    for name, values in (("losses", now), ("first_losses", first)):
        if values.shape != weights.shape:
            raise ValueError(
                f"`{name}` should have shape {weights.shape}, one per task. "
                f"Found {values.shape}."
            )
    bound = jnp.asarray(growth, now.dtype) * first.astype(now.dtype)
    grew = jnp.logical_and(first > 0, now > bound)
    return jnp.logical_and(weights < 0, grew)


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
