"""OL-AUX: weights that follow the inner products with the main gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from auxjax._types import Array, Key, Mask, Number
from auxjax.weighting._alias import summed
from auxjax.weighting._build import row_transform
from auxjax.weighting._checks import (
    check_among,
    check_at_least,
    check_finite,
    check_num_tasks,
    check_positive,
    weight_dtype,
)
from auxjax.weighting._olaux_statistic import Statistic
from auxjax.weighting._tasks import dealt_out


class OLAuxState(NamedTuple):
    """State of `scale_by_olaux`."""

    count: jax.Array  # [] int32, updates made
    weights: jax.Array  # [T] float; the main task's is 1
    statistic: jax.Array  # [T] float, Σ ⟨∇L_main, ∇Lᵢ⟩, or cosines, of its n steps
    steps: jax.Array  # [T] int32, of how many steps that is
    history: Any  # with `smoothing`: list of [smoothing, T, *param]; else empty
    pushed: Any  # with `smoothing`: [T] int32, rows ever put there; else None
    nonfinite: Any = None  # [T] int32, how often a task was not finite
    logits: Any = None  # `exponentiated`: [T] float, βα Σ of the statistic; else None
    squares: Any = None  # with `sketch`: [T] float, moving average of ‖∇Lᵢ‖²
    draws: Any = None  # with `sketch`: [T] int32, how many each average holds
    key: Any = None  # with `sketch`: of its random directions


def scale_by_olaux(
    n: int = 5,
    num_tasks: int = 2,
    learning_rate: Number | Callable[[Any], Any] = 5e-3,
    *,
    init_weight: Number = 1.0,
    step_size: Number = 1.0,
    statistic: str = "n_step",
    clip_at_zero: bool = False,
    smoothing: int = 1,
    where: Mask | None = None,
    inner_products: str = "raw",
    update: str = "additive",
    sketch: int | None = None,
    sketch_ema: Number = 0.9,
    key: Key[Array, ""] | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Scales the auxiliary rows by weights that learn to help the main task.

    Every n steps, with gradients taken at the parameters of their own step,

        wᵢ ← wᵢ + β α Σ_{j<n} ⟨∇L_main(θ_{t-j}), ∇Lᵢ(θ_{t-j})⟩      (Eq. 6, Alg. 1)

    The inner products of all tasks are one backward pass of the main task (`row`) and
    one tangent pass (`jvp`): no gradient is stacked, and forty auxiliary tasks cost
    what two do. With a single one, writing the two rows down is cheaper still, and
    that is done. Put `scale_by_log_loss` before it for the paper's ∇ log L.

    Two options, together or apart, take the size out of it. With
    `inner_products="cosine"` the sum is of cosines over the shared parameters, so that
    no gradient's length is a learning rate of the weights. With
    `update="exponentiated"` the auxiliary weights share a sum that stays,

        w = (T − 1) `init_weight` softmax(s),   sᵢ ← sᵢ + β α Σ_{j<n} ⟨·, ·⟩

    all above 0, where additive ones grow into the thousands or turn against a task.
    (One auxiliary task has nobody to share with: its weight stays.)

    The n steps are a task's own: where it is absent (`task_mask=`) or not finite, or
    the main task is, it waits, so that one in every tenth batch learns its weight too.
    (Exponentiated, it keeps its weight, and the others share what is left of the sum.)

    OL-AUX-1 of the paper's Figure 6 is `n=1` with a β five times smaller (n = 1 does
    not scale β by itself). Its "OL-AUX-5 (Ablation)" is `statistic="last_step"`, Eq. 4
    at every n-th step only, *with* a `statistic_jacobian` of n times the data; without
    one it takes the step's own batch.

    Args:
      n: the horizon N, in steps.
      num_tasks: T, main task included.
      learning_rate: β, or a schedule of it over the count of updates.
      init_weight: the auxiliary weights at the start.
      step_size: α. Only the product βα matters, so it is 1 by default; the released
        code has β = 5, α = 1e-3, whose product is the default β here.
      statistic: `"n_step"` sums the inner products of n steps; `"last_step"` takes
        those of every n-th step alone, of `statistic_jacobian` if the update is given
        one.
      clip_at_zero: keep the weights at or above 0: for auxiliary losses without an
        upper bound, on which a negative weight is ascent without end. Exponentiated
        ones are there by themselves.
      smoothing: take inner products of running means of each gradient over so many
        steps. Above 1 this stacks gradients: T backward passes, and memory for
        `smoothing` × T × the parameters.
      where: the leaves whose inner products count; None: all. (Where an auxiliary
        loss does not depend on a leaf its gradient is zero there anyway.) Of cosines,
        None: the leaves that at least two losses depend on, as in `scale_by_gcs`.
      inner_products: `"raw"`, or `"cosine"`: divided by both gradients' norms.
      update: `"additive"`, or `"exponentiated"`.
      sketch: estimate ‖∇Lᵢ‖² for the cosines by so many tangent passes along random
        directions, and average the estimates; the main task's is exact. None: exact.
      sketch_ema: the decay of that average, which is debiased.
      key: of the random directions; None: `jax.random.key(0)`.

    Returns:
      A row transform, Jacobian → Jacobian; its state's `weights` are `[T]`. Price: one
      backward pass of the main task and one tangent pass (with two tasks, two backward
      passes that serve the final sum as well); with cosines T backward passes more, or
      `sketch` tangent passes, as `gcs` with `weighted`. The update takes, for the
      ablation, `statistic_jacobian=`: a Jacobian of the same tasks, or a function
      without arguments that makes one (it is called inside `lax.cond`, every n-th step
      only). It has not been through what stands before in the chain: scale it there,
      if need be.

    Raises:
      ValueError: for n < 1, num_tasks < 2, smoothing < 1, another `statistic`,
        `inner_products` or `update`, exponentiated weights that start at or below 0, a
        `sketch` where there are no cosines of every step; from the update, where the
        number of tasks is not `num_tasks`, or a `statistic_jacobian` would be ignored.

    Example:
      >>> import jax.numpy as jnp
      >>> import optax
      >>> import auxjax
      >>> def losses(p):  # the second helps, the third is the first one's enemy
      ...     return jnp.sum(p**2), jnp.sum((p - 0.1) ** 2), -jnp.sum(p**2)
      >>> tx = optax.chain(auxjax.olaux(n=1, num_tasks=3, learning_rate=0.1),
      ...                  optax.sgd(0.01))
      >>> params = jnp.array([1.0, 1.0])
      >>> state = tx.init(params)
      >>> jac = auxjax.task_jacobian(losses, params)
      >>> updates, state = tx.update(jac, state, params)
      >>> weights = optax.tree.get(state, "weights")  # 1 + 0.1 * 7.2, 1 - 0.1 * 8
      >>> [round(float(w), 2) for w in weights]
      [1.0, 1.72, 0.2]

    References:
      Lin et al., *Adaptive Auxiliary Task Weighting for Reinforcement Learning*,
      NeurIPS 2019: Eq. 4 (one step), Eq. 6 (N steps), Algorithm 1.

    Paper and code:
      | | paper | released code | here |
      |---|---|---|---|
      | Δw | βα Σ over N steps | (base_lr · N) · mean over N of α⟨·,·⟩ | the sum |
      | w < 0 | allowed | clipped at 0 | `clip_at_zero=False` |
      | losses | log L | log(L + 0.02) | `scale_by_log_loss(offset=)` |
      | parameters | all of θ | the shared CNN | `where=None` |
      | gradients | as they are | 4-step running means | `smoothing=1` |
      | ⟨·, ·⟩ | inner products | the same | `inner_products="raw"`; cosines: ours |
      | step of w | additive, Eq. 6 | the same | `update="additive"`; the other: ours |

      The two forms of Δw are one: (base_lr · N) · mean = base_lr · sum.
    """
    check_num_tasks(num_tasks)
    check_at_least("n", n, 1)
    check_finite(
        learning_rate=learning_rate, step_size=step_size, init_weight=init_weight
    )
    check_among("update", update, ("additive", "exponentiated"))
    exponentiated = update == "exponentiated"
    if exponentiated:
        check_positive(init_weight=init_weight)
    follow = Statistic(
        num_tasks, statistic, smoothing, where, inner_products, sketch, sketch_ema, key
    )

    def init_fn(params):
        dtype = weight_dtype(params)
        return OLAuxState(
            count=jnp.zeros((), jnp.int32),
            weights=jnp.full(num_tasks, init_weight, dtype).at[0].set(1),
            statistic=jnp.zeros(num_tasks, dtype),
            steps=jnp.zeros(num_tasks, jnp.int32),
            logits=jnp.zeros(num_tasks, dtype) if exponentiated else None,
            **follow.start(params),
        )

    def rule(jac, state, *, counted, statistic_jacobian):
        if follow.wants_rows:
            jac = jac.materialize()  # two rows are less than what follows
        dtype = state.weights.dtype
        is_last = state.steps + 1 >= n  # of those n steps that a task is there
        wanted = jnp.any(jnp.logical_and(is_last, counted)[1:]) & counted[0]
        dots, (among, broken), kept = follow.find(
            jac, state, counted, wanted, statistic_jacobian
        )
        is_last = jnp.logical_and(is_last, among)
        sums = statistic == "n_step"  # else the statistic stays 0
        total = state.statistic + jnp.where(among, dots, jnp.zeros_like(dots))

        rate = learning_rate(state.count) if callable(learning_rate) else learning_rate
        rate = jnp.asarray(rate, dtype) * jnp.asarray(step_size, dtype)
        if exponentiated:
            kept["logits"], moved = _dealt_out(
                state, is_last, rate * total, among, (num_tasks - 1) * init_weight
            )
            moves = jnp.any(is_last[1:])
        else:
            moved, moves = state.weights + rate * total, is_last  # Eq. 6
        if clip_at_zero:
            moved = jnp.maximum(moved, 0.0)
        steps = state.steps + among.astype(jnp.int32)
        new_state = state._replace(
            count=state.count + 1,
            weights=jnp.where(moves, moved, state.weights).at[0].set(1),
            statistic=_unless(is_last, total) if sums else state.statistic,
            steps=_unless(is_last, steps),
            nonfinite=broken,
            **kept,
        )
        # The step itself is made with the weights of before (Algorithm 1).
        return jac.scale(state.weights), new_state

    return row_transform(init_fn, rule, num_tasks=num_tasks)


@summed(scale_by_olaux)
def olaux():
    """OL-AUX as an update: `optax.chain(scale_by_olaux(...), sum_tasks())`."""


def _unless(over: jax.Array, values: jax.Array) -> jax.Array:
    """The values, and 0 for tasks whose n steps are over."""
    return jnp.where(over, jnp.zeros_like(values), values)


def _dealt_out(
    state: OLAuxState,
    is_last: jax.Array,
    step: jax.Array,
    among: jax.Array,
    whole: Number,
) -> tuple[jax.Array, jax.Array]:
    """The new logits, and the auxiliary weights that they make of `whole`."""
    logits = jnp.where(is_last, state.logits + step, state.logits)
    weights, there = state.weights.at[0].set(0), among.at[0].set(False)
    whole = jnp.asarray(whole, weights.dtype)
    return logits, dealt_out(logits, weights, there, whole)
