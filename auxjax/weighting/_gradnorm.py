"""GradNorm: weights that bring the gradients to norms that fit their progress."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from auxjax._types import Array, Key, Mask, Number
from auxjax.jacobian import Jacobian, is_traced
from auxjax.weighting._alias import summed
from auxjax.weighting._build import move, row_transform, start_moments
from auxjax.weighting._checks import (
    Vector,
    check_at_least,
    check_finite,
    check_num_tasks,
    need_losses,
    vector,
    weight_dtype,
)
from auxjax.weighting._tasks import is_positive, mean


class GradNormState(NamedTuple):
    """State of `scale_by_gradnorm`."""

    count: jax.Array  # [] int32, updates made
    weights: jax.Array  # [T] float, w, those of the next step; they sum to T
    norms: jax.Array  # [T] float, ‖∇Lᵢ‖ of the last update, unweighted
    initial_losses: jax.Array  # [T] float, Lᵢ(0); 0: none yet
    optimizer_state: Any  # of the optimizer of w, one copy per task
    nonfinite: Any = None  # [T] int32, how often a task was not finite


def scale_by_gradnorm(
    num_tasks: int = 2,
    *,
    alpha: Number = 1.5,
    optimizer: optax.GradientTransformation | None = None,
    where: Mask | None = None,
    initial_losses: Vector = None,
    sketch: int | None = None,
    key: Key[Array, ""] | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Scales row i by wᵢ, learned so that slow tasks get large gradients.

        Gᵢ = wᵢ‖∇Lᵢ‖,   rᵢ = (Lᵢ/Lᵢ(0)) / mean_j (L_j/L_j(0))
        minimise Σᵢ |Gᵢ − Ḡ rᵢ^α| over w, with Ḡ = mean G held constant        (Eq. 2)

    one step of w per update, after which w is scaled to sum to T again. The gradient is
    ‖∇Lᵢ‖ sign(Gᵢ − Ḡ rᵢ^α). A weight is kept at or above 0.

    **A loss at or below zero** (or NaN, or infinite, or with such a gradient) has no
    training rate: its weight, its moments and L(0) stay as they were for that step, it
    counts in no mean, and its row is scaled by its weight as ever.

    Args:
      num_tasks: T, main task included.
      alpha: how strongly the tasks are pulled to one training rate; 0: to one norm.
      optimizer: how w follows its gradient; None: `optax.adam(0.025)`.
      where: the parameters W whose gradients are compared, in the paper the last shared
        layer's; None: the leaves that at least two losses depend on. The backward
        passes go no deeper than these.
      initial_losses: Lᵢ(0) `[T]`, above 0, as log C for a cross-entropy of C classes;
        None: those of the first update.
      sketch: estimate the norms by so many random tangent passes, whatever T; None:
        exact, T backward passes. The optimizer of w averages the noise.
      key: of the sketches; None: `jax.random.key(0)`.

    Returns:
      A row transform, Jacobian → Jacobian; its state's `weights` are `[T]`, those of
      the next step: this one is made with those of before (Algorithm 1). Price: T
      backward passes to `where`, or `sketch` tangent passes. Stacked gradients need
      `losses=` `[T]` as an extra argument of the update. With a task mask the means
      are over those present, who keep what they weigh together.

    Raises:
      ValueError: for num_tasks < 2, an `alpha` that is not finite, `sketch` < 1 or
        `initial_losses` that are not T numbers above 0; from the update, where the
        losses are missing.

    Example:
      >>> import jax.numpy as jnp
      >>> import optax
      >>> import auxjax
      >>> tx = auxjax.scale_by_gradnorm(2, optimizer=optax.sgd(0.1))
      >>> grads = jnp.array([[3.0], [1.0]])
      >>> _, state = tx.update(grads, tx.init(jnp.zeros(1)), losses=jnp.ones(2))
      >>> [round(float(w), 2) for w in state.weights]  # 1 - 0.3 and 1 + 0.1, over 0.9
      [0.78, 1.22]

    References:
      Chen et al., *GradNorm: Gradient Normalization for Adaptive Loss Balancing in Deep
      Multitask Networks*, ICML 2018, arXiv 1711.02257, Eq. 1 and 2, Algorithm 1.
    """
    check_num_tasks(num_tasks)
    check_finite(alpha=alpha)
    if sketch is not None:
        check_at_least("sketch", sketch, 1)
    first = vector("initial_losses", initial_losses, 0.0, num_tasks)
    if initial_losses is not None and not (is_traced(first) or (first > 0).all()):
        raise ValueError(
            f"`initial_losses` should be {num_tasks} numbers above 0, one per task. "
            f"Found {initial_losses}."
        )
    learn = optax.adam(0.025) if optimizer is None else optimizer

    def init_fn(params):
        dtype = weight_dtype(params)
        ones = jnp.ones(num_tasks, dtype)
        return GradNormState(
            count=jnp.zeros((), jnp.int32),
            weights=ones,
            norms=jnp.zeros_like(ones),
            initial_losses=jnp.asarray(first, dtype),
            optimizer_state=start_moments(learn, ones),
        )

    def rule(jac, state, *, present):
        if num_tasks == 2 and where is None and sketch is None:
            jac = jac.materialize()  # two rows are less than what follows
        dtype, w = state.weights.dtype, state.weights
        values = need_losses(jac, "scale_by_gradnorm").astype(dtype)
        norms = _norms(jac, where, sketch, key, state.count).astype(dtype)
        usable = jnp.logical_and(is_positive(values), jnp.isfinite(norms))
        among = jnp.logical_and(present, usable)

        known = state.initial_losses > 0
        start = jnp.where(known, state.initial_losses, values)
        start = jnp.where(usable, start, state.initial_losses)
        ratios = values / jnp.where(usable, start, jnp.ones_like(start))
        rates = jnp.where(among, ratios / mean(ratios, among), jnp.ones_like(ratios))
        target = mean(w * norms, among) * rates ** jnp.asarray(alpha, dtype)  # Eq. 1
        slope = norms * jnp.sign(w * norms - target)  # Eq. 2

        moved, optimizer_state, broken = move(
            learn, slope, state.optimizer_state, w, among
        )
        moved = _rescale(jnp.maximum(moved, 0), w, among)
        new_state = GradNormState(
            count=state.count + 1,
            weights=jnp.where(among, moved, w),
            norms=jnp.where(usable, norms, state.norms),
            initial_losses=start,
            optimizer_state=optimizer_state,
            nonfinite=jnp.logical_or(broken, ~jnp.isfinite(norms)),
        )
        return jac.scale(w), new_state

    return row_transform(init_fn, rule, num_tasks=num_tasks)


@summed(scale_by_gradnorm)
def gradnorm():
    """GradNorm as an update: `chain(scale_by_gradnorm(...), sum_tasks())`."""


def _norms(jac: Jacobian, where, sketch, key, count) -> jax.Array:
    """‖∇Lᵢ‖ `[T]`, exact or estimated."""
    mask = jac.shared_mask() if where is None else where
    if sketch is None:
        return jac.norms(mask)
    start = jax.random.key(0) if key is None else key
    return jac.norms(mask, sketch=sketch, key=jax.random.fold_in(start, count))


def _rescale(moved: jax.Array, before: jax.Array, among: jax.Array) -> jax.Array:
    """The tasks `among` weigh together what they weighed before: T if they are all."""
    total = jnp.sum(jnp.where(among, moved, jnp.zeros_like(moved)))
    kept = jnp.sum(jnp.where(among, before, jnp.zeros_like(before)))
    return jnp.where(total > 0, moved * kept / jnp.where(total > 0, total, 1), before)
