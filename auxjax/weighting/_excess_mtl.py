"""ExcessMTL: weight goes to the tasks that are far from their own optimum."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from auxjax._types import Mask, Number
from auxjax.jacobian import Layout, as_real
from auxjax.weighting._alias import summed
from auxjax.weighting._build import over_tasks, row_transform
from auxjax.weighting._checks import (
    check_at_least,
    check_not_negative,
    check_num_tasks,
    check_positive,
    weight_dtype,
)
from auxjax.weighting._shares import exponentiated


class ExcessMTLState(NamedTuple):
    """State of `scale_by_excess_mtl`."""

    weights: jax.Array  # [T] float, those of the last update; they sum to 1
    logits: jax.Array  # [T] float, their logarithms, however small
    risks: jax.Array  # [T] float, excess risk of the last update over the baseline
    baseline: jax.Array  # [T] float, sum of the risks of the first `warmup` steps
    steps: jax.Array  # [T] int32, risks that were there and above 0
    squares: Any  # S: for each leaf [T, *param] float, or None outside `where`
    nonfinite: Any = None  # [T] int32, how often a task was not finite


def scale_by_excess_mtl(
    num_tasks: int = 2,
    *,
    learning_rate: Number = 0.01,
    warmup: int = 1,
    eps: Number = 1e-7,
    where: Mask | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Scales row i by wᵢ, which grows with how far its loss is above its optimum.

        Sᵢ ← Sᵢ + ∇Lᵢ²,   eᵢ = Σ ∇Lᵢ² / √(Sᵢ + ε)      element by element (Eq. 6, 7)
        rᵢ = eᵢ / eᵢ(0)                                             (section 3.2)
        wᵢ ← wᵢ exp(η rᵢ) / Σⱼ wⱼ exp(η rⱼ)                               (Eq. 9)

    eᵢ estimates the excess risk, the loss above its minimum, to second order, with √S
    (AdaGrad's) for the curvature. A task with noisy labels has a large loss that stays,
    and is favoured by rules that look at it; its excess risk falls as any other's. (The
    noise that a small batch puts into a gradient counts as risk, though.)
    The weights sum to 1.

    eᵢ(0) is the mean of the first `warmup` risks, during which rᵢ = 1: the weights are
    equal then. Each task has its own: a step in which it is absent (`task_mask=`), not
    finite, or its gradient zero is none of them. Who does not take part keeps its
    weight, and the others keep what they weigh together.

    Args:
      num_tasks: T, main task included.
      learning_rate: η.
      warmup: how many steps make eᵢ(0); the paper's appendix C.1 takes three epochs.
      eps: ε.
      where: the parameters whose gradients count; None: the leaves that at least two
        losses depend on.

    Returns:
      A row transform, Jacobian → Jacobian; its state's `weights` are `[T]`. Price: T
      backward passes, and memory for T times the parameters (those in `where`).

    Raises:
      ValueError: for num_tasks < 2, η ≤ 0, warmup < 1, ε < 0.

    Example:
      >>> import jax.numpy as jnp
      >>> import auxjax
      >>> tx = auxjax.scale_by_excess_mtl(2, learning_rate=1.0)
      >>> state = tx.init(jnp.zeros(1))
      >>> for rows in ([[2.0], [2.0]], [[2.0], [0.0]]):  # the second has arrived
      ...     _, state = tx.update(jnp.array(rows), state)
      >>> [round(float(r), 3) for r in state.risks]  # 4/√8 and 0, over 4/√4
      [0.707, 0.0]
      >>> [round(float(w), 3) for w in state.weights]
      [0.67, 0.33]

    References:
      He, Zhou, Zhang, Yun, Xu, Zeng, Chilimbi, Zhao, *Robust Multi-Task Learning with
      Excess Risks*, ICML 2024, arXiv 2402.02009: Eq. 6, 7 and 9, section 3.2, appendix
      C.1 (numbers as TorchJD's documentation gives them).

    Paper and code:
      | | LibMTL | TorchJD | here |
      |---|---|---|---|
      | Σ w | T | 1 | 1: put T into the learning rate |
      | η | 0.01 | 1 | 0.01 |
      | e(0) | first step | mean of `n_warmup_steps` | mean of `warmup` |
      | without warm-up | first step equal | w from e itself at first | as LibMTL: 1 |
      | e(0) = 0 | NaN | + 1e-7 | waits for a gradient |
    """
    check_num_tasks(num_tasks)
    check_positive(learning_rate=learning_rate)
    check_not_negative(eps=eps)
    check_at_least("warmup", warmup, 1)

    def init_fn(params):
        layout, dtype = Layout(params), weight_dtype(params)
        wanted = dict(zip(layout.differentiable, layout.mask(where), strict=True))

        def zeros(leaf):
            if not wanted.get(leaf, False):
                return None
            like = as_real(jnp.zeros(layout.shapes[leaf], layout.dtypes[leaf]))
            return jnp.zeros((num_tasks, *like.shape), dtype)

        zero = jnp.zeros(num_tasks, dtype)
        equal = jnp.full(num_tasks, 1.0 / num_tasks, dtype)
        return ExcessMTLState(
            weights=equal,
            logits=jnp.log(equal),
            risks=zero,
            baseline=zero,
            steps=jnp.zeros(num_tasks, jnp.int32),
            squares=[zeros(leaf) for leaf in range(len(layout.shapes))],
        )

    def rule(jac, state, *, counted):
        jac = jac.materialize()  # whose sum is then a product
        dtype = state.weights.dtype
        rows = jac.leaf_rows(jac.shared_mask() if where is None else where)
        risks, squares = jnp.zeros(num_tasks, dtype), {}
        for leaf, x in enumerate(rows):
            if x is not None:
                square = as_real(x).astype(dtype) ** 2
                squares[leaf] = state.squares[leaf] + square
                risks += _sum(_over_root(square, squares[leaf], eps))  # Eq. 6, 7
        finite = jnp.isfinite(risks)
        among = jnp.logical_and(counted, jnp.logical_and(finite, risks > 0))

        steps = state.steps + among.astype(jnp.int32)
        warm = state.steps < warmup
        starts = jnp.logical_and(among, warm)
        baseline = state.baseline + jnp.where(starts, risks, 0)
        mean = baseline / jnp.clip(steps, 1, warmup).astype(dtype)
        known = mean > 0
        ratios = jnp.where(warm, 1, risks / jnp.where(known, mean, 1))
        moves = jnp.logical_and(counted, jnp.logical_and(finite, known))
        rate = jnp.asarray(learning_rate, dtype)
        logits = exponentiated(state.logits, rate * ratios, moves)  # Eq. 9

        kept = [
            x if i not in squares else jnp.where(over_tasks(among, x), squares[i], x)
            for i, x in enumerate(state.squares)
        ]
        weights = jnp.exp(logits)
        new_state = ExcessMTLState(
            weights=weights,
            logits=logits,
            risks=jnp.where(moves, ratios, state.risks),
            baseline=baseline,
            steps=steps,
            squares=kept,
            nonfinite=jnp.logical_and(counted, ~finite),
        )
        return jac.scale(weights), new_state

    return row_transform(init_fn, rule, num_tasks=num_tasks)


@summed(scale_by_excess_mtl)
def excess_mtl():
    """ExcessMTL as an update: `chain(scale_by_excess_mtl(...), sum_tasks())`."""


def _sum(rows: jax.Array) -> jax.Array:
    """`[T, *param]` to `[T]`."""
    return jnp.sum(rows, axis=tuple(range(1, rows.ndim)))


def _over_root(square: jax.Array, total: jax.Array, eps: Number) -> jax.Array:
    """∇L² / √(S + ε); 0 where that is 0/0."""
    raised = total + jnp.asarray(eps, total.dtype)
    there = raised != 0
    return jnp.where(there, square / jnp.sqrt(jnp.where(there, raised, 1)), 0)
