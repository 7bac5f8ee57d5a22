"""A look at the tasks in passing: a transformation that changes nothing."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from auxjax._types import Mask
from auxjax.diagnosis._checks import check_at_least
from auxjax.diagnosis._measure import measure
from auxjax.diagnosis._statistics import mean_of, share_of, signal_to_noise
from auxjax.jacobian import as_jacobian, check_task_mask, wide


class DiagnosisState(NamedTuple):
    """State of `monitor_tasks`. A window is a ring: batch k is at place k mod window.

    Batch k has its pairs, if it was measured, at (k / pairs_every) mod m.
    """

    count: jax.Array  # [] int32, batches seen
    inner_products: jax.Array  # [window, T] float, ⟨∇L_main, ∇Lᵢ⟩ of each batch
    counted: jax.Array  # [window, T] bool, whose count: present and finite
    signal_to_noise: jax.Array  # [T] float, their mean over their standard deviation
    share_positive: jax.Array  # [T] float, how often they were above 0
    pair_cosines: Any  # [m, T, T] float, of the batches that were measured; or None
    pair_norms: Any  # [m, T] float, ‖∇Lᵢ‖ there; or None
    paired: Any  # [m, T] bool, who took part there; or None
    pair_batches: Any  # [m] int32, the number of that batch, −1 for none; or None
    cosines: Any  # [T] float, mean over the window, with the main task's; or None
    norms: Any  # [T] float, mean over the window; or None
    nonfinite: jax.Array  # [T] int32, how often a task was not finite


def monitor_tasks(
    num_tasks: int = 2,
    window: int = 100,
    *,
    pairs_every: int = 0,
    where: Mask | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Watches whether the tasks conflict while they are trained, and changes nothing.

    Of the last batches it keeps ⟨∇L_main, ∇Lᵢ⟩ of every task, at OL-AUX's price, and of
    every `pairs_every`-th batch the cosines of all pairs. `diagnosis_of(opt_state)`
    makes a `Diagnosis` of that, `task_metrics(opt_state)` has the numbers for a log.

    It sees the rows as they are where it stands: before every rule the losses' own
    gradients, behind `scale_by_log_loss` those of the logarithms. A task that is absent
    (`task_mask=`) or not finite does not count, and in a batch without the main task
    no inner product does.

    Args:
      num_tasks: T, main task included; 1 is possible.
      window: of how many batches the inner products are kept.
      pairs_every: k, measure cosines and norms every k batches; 0: never.
      where: the leaves that count; None: those that at least two losses depend on (a
        `TaskJacobian` knows them; of stacked gradients, all leaves; of a single task,
        all leaves).

    Returns:
      A row transform that hands the rows on. Price: one backward pass of the main task
      and one tangent pass; under `jit` nothing in front of `olaux` or `gcs`, which ask
      for the same. With `pairs_every=k`, T backward passes in every k-th step, and T
      times the memory of the shared parameters there.

    Raises:
      ValueError: for num_tasks < 1, window < 2, pairs_every < 0; from the update, where
        the number of tasks is not `num_tasks`.

    Example:
      >>> import jax, jax.numpy as jnp, optax
      >>> import auxjax
      >>> def losses(p, x):  # the second helps, the third is its enemy
      ...     return jnp.sum((p - x) ** 2), jnp.sum(p**2), -jnp.sum((p - x) ** 2)
      >>> tx = optax.chain(auxjax.monitor_tasks(3), auxjax.equal(3), optax.sgd(0.01))
      >>> params, state = jnp.ones(2), tx.init(jnp.ones(2))
      >>> for x in jax.random.normal(jax.random.key(0), (8, 2)):
      ...     jac = auxjax.task_jacobian(losses, params, x)
      ...     updates, state = tx.update(jac, state, params)
      >>> optax.tree.get(state, "share_positive").tolist()  # of eight batches
      [1.0, 0.75, 0.0]
      >>> auxjax.task_metrics(state)["share_positive"].tolist()
      [1.0, 0.75, 0.0]
    """
    check_at_least("num_tasks", num_tasks, 1)
    check_at_least("window", window, 2)
    check_at_least("pairs_every", pairs_every, 0)
    num_pairs = -(-window // pairs_every) if pairs_every else 0

    def init(params):
        dtypes = [x.dtype for x in jax.tree.leaves(params) if hasattr(x, "dtype")]
        state = _empty(num_tasks, window, num_pairs, wide(*dtypes))
        # No buffer twice: a step may donate its state.
        return jax.tree.map(jnp.copy, state)

    def update(updates, state, params=None, *, task_mask=None, **extra_args):
        losses = extra_args.get("losses")
        jac = as_jacobian(updates, params, num_tasks=num_tasks, losses=losses)
        mask = check_task_mask(task_mask, num_tasks)
        present = jnp.ones(num_tasks, bool) if mask is None else mask
        jac = jac if mask is None else jac.mask(mask)
        if num_tasks == 2:
            jac = jac.materialize()  # two rows are less than what follows
        if pairs_every == 0:
            sample = measure(jac, present, where, pairs=False)
        else:
            sample = _measure_now_and_then(jac, present, where, state, pairs_every)
        return jac.as_updates(), _push(state, sample, window, pairs_every)

    return optax.GradientTransformationExtraArgs(init, update)


def _empty(num_tasks: int, window: int, num_pairs: int, dtype: Any) -> DiagnosisState:
    """Nothing seen; without `num_pairs`, nothing kept of pairs."""

    def pairs(shape, kind=dtype):
        return jnp.zeros(shape, kind) if num_pairs else None

    return DiagnosisState(
        count=jnp.zeros((), jnp.int32),
        inner_products=jnp.zeros((window, num_tasks), dtype),
        counted=jnp.zeros((window, num_tasks), bool),
        signal_to_noise=jnp.zeros(num_tasks, dtype),
        share_positive=jnp.zeros(num_tasks, dtype),
        pair_cosines=pairs((num_pairs, num_tasks, num_tasks)),
        pair_norms=pairs((num_pairs, num_tasks)),
        paired=pairs((num_pairs, num_tasks), bool),
        pair_batches=jnp.full(num_pairs, -1, jnp.int32) if num_pairs else None,
        cosines=pairs(num_tasks),
        norms=pairs(num_tasks),
        nonfinite=jnp.zeros(num_tasks, jnp.int32),
    )


def _measure_now_and_then(jac, present, where, state, every: int):
    """A sample with pairs at every k-th batch, else with zeros in their place."""
    dtype = state.inner_products.dtype

    def full():
        sample = measure(jac, present, where, pairs=True)
        return jax.tree.map(lambda x: _cast(x, dtype), sample)

    def quick():
        sample = measure(jac, present, where, pairs=False)
        sample = jax.tree.map(lambda x: _cast(x, dtype), sample)
        return sample._replace(
            cosines=jnp.zeros_like(state.pair_cosines[0]),
            norms=jnp.zeros_like(state.pair_norms[0]),
            paired=jnp.zeros_like(state.paired[0]),
        )

    return full() if every == 1 else jax.lax.cond(state.count % every == 0, full, quick)


def _push(state: DiagnosisState, sample, window: int, every: int) -> DiagnosisState:
    """The state with one more batch."""
    dtype, place = state.inner_products.dtype, state.count % window
    values = state.inner_products.at[place].set(sample.inner_products.astype(dtype))
    counted = state.counted.at[place].set(sample.counted)
    share = share_of(jnp, values > 0, counted, 0.0)
    state = state._replace(
        count=state.count + 1,
        inner_products=values,
        counted=counted,
        signal_to_noise=signal_to_noise(jnp, values, counted, 0.0),
        share_positive=share.astype(dtype),
        nonfinite=state.nonfinite + sample.broken.astype(jnp.int32),
    )
    if state.pair_cosines is None:
        return state
    number = state.count - 1
    place = (number // every) % state.paired.shape[0]
    is_new = number % every == 0

    def put(ring, value):
        kept = jnp.where(is_new, value.astype(ring.dtype), ring[place])
        return ring.at[place].set(kept)

    cosines = put(state.pair_cosines, sample.cosines)
    norms = put(state.pair_norms, sample.norms)
    paired = put(state.paired, sample.paired)
    with_main = jnp.logical_and(paired, paired[:, :1])
    return state._replace(
        pair_cosines=cosines,
        pair_norms=norms,
        paired=paired,
        pair_batches=put(state.pair_batches, number),
        cosines=mean_of(jnp, cosines[:, 0], with_main, 0.0),
        norms=mean_of(jnp, norms, paired, 0.0),
    )


def _cast(x: jax.Array, dtype: Any) -> jax.Array:
    return x if x.dtype == jnp.bool_ else x.astype(dtype)
