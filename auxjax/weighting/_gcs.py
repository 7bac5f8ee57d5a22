"""GCS: an auxiliary gradient counts while it points the main task's way."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from auxjax._types import Array, Float, Key, Mask, Number
from auxjax.jacobian import is_traced
from auxjax.weighting._alias import summed
from auxjax.weighting._build import row_transform
from auxjax.weighting._checks import (
    check_at_least,
    check_num_tasks,
    is_surely_zero,
    weight_dtype,
)
from auxjax.weighting._cosines import cosine, follow, layer_cosines
from auxjax.weighting._tasks import relative_to_main


class GCSState(NamedTuple):
    """State of `scale_by_gcs`."""

    count: jax.Array  # [] int32, updates made
    weights: jax.Array  # [T] float, those of the last update; the main task's is 1
    average: Any  # [T] float, moving average before debiasing, or None
    cosines: Any  # [T] float, debiased; None where only signs are needed
    squares: Any  # with `sketch`: [T] float, moving average of ‖∇Lᵢ‖²; else None
    key: Any  # with `sketch`: of its random directions; else None
    steps: Any  # [T] int32, how many cosines each average holds; else None
    nonfinite: Any = None  # [T] int32, how often a task was not finite


def gcs_weights(
    cosines: Float[Array, " T"], *, weighted: bool = False, threshold: Number = 0.0
) -> Float[Array, " T"]:
    r"""The gate: from cosines with the main gradient to weights.

    wᵢ = 1[cᵢ ≥ threshold] (Algorithm 1), times max(0, cᵢ) if `weighted` (Algorithm 2);
    the main task's is 1.

    Args:
      cosines: `[T]`, or anything with their signs if the threshold is 0 and the rule
        unweighted.
      weighted: scale by the cosine.
      threshold: below it the task is off.

    Returns:
      `[T]`.
    """
    gate = (cosines >= threshold).astype(cosines.dtype)
    weights = gate * jnp.maximum(cosines, 0) if weighted else gate
    return weights.at[0].set(1)


def scale_by_gcs(
    weighted: bool = False,
    threshold: Number = 0.0,
    ema: Number = 0.0,
    per_layer: bool = False,
    where: Mask | None = None,
    *,
    num_tasks: int = 2,
    sketch: int | None = None,
    key: Key[Array, ""] | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Gates auxiliary rows by their cosine with the main task's gradient.

        cᵢ = cos(∇_θ L_main, ∇_θ Lᵢ)      over the shared parameters θ
        wᵢ = 1[cᵢ ≥ threshold]             Algorithm 1, `weighted=False`
        wᵢ = max(0, cᵢ) 1[cᵢ ≥ threshold]  Algorithm 2, `weighted=True`

    Only the rows' shared part is scaled: **a head always gets its own gradient**
    (lines 4 of both algorithms). A gradient of zero has cosine 0.

    The default needs only the sign of an inner product, which one tangent pass gives
    for all tasks: it costs what OL-AUX does, whatever T. A threshold other than 0,
    `weighted`, `ema` and `per_layer` need norms: T backward passes. With `ema` the
    norms can be estimated instead (`sketch`): then the price is the same for any T.

    A task that is absent (`task_mask=`) or whose cosine is not finite keeps its gate
    and its average, which is debiased by the number of its own cosines; while the main
    task is absent or not finite, all of them do.

    The variant of the paper's Atari experiments is
    `scale_by_gcs(weighted=True, threshold=0.02, ema=0.999, per_layer=True)`.

    Args:
      weighted: scale by the cosine instead of switching.
      threshold: the least cosine at which a task is on, in [-1, 1].
      ema: decay of a moving average of the cosines, c ← ema·c + (1 - ema)·cos,
        debiased (divided by 1 - emaᵗ) so that it starts at the first cosine.
      per_layer: take a cosine for every leaf and average them, all leaves alike; a
        leaf where either gradient is zero adds 0.
      where: the shared parameters; None: the leaves that at least two losses depend
        on (a `TaskJacobian` knows them; of stacked gradients, all leaves).
      num_tasks: T, main task included.
      sketch: estimate ‖∇Lᵢ‖² by so many tangent passes along random directions, and
        average the estimates with the decay `ema` too; the main task's is exact. None:
        exact norms.
      key: of the random directions; None: `jax.random.key(0)`.

    Returns:
      A row transform, Jacobian → Jacobian; its state has `weights` `[T]`, and
      `cosines` `[T]` unless only signs were needed. Price: one backward pass of the
      main task and one tangent pass; T backward passes more where norms are needed
      (`sketch` tangent passes if they are estimated);
      T backward passes in all, the final sum included, for `per_layer` or two tasks,
      whose rows are written down.

    Raises:
      ValueError: for a threshold outside [-1, 1], ema outside [0, 1), num_tasks < 2, a
        sketch without `ema` (nothing would average its noise) or with `per_layer`;
        from the update, where the number of tasks is not `num_tasks`.

    Example:
      >>> import jax.numpy as jnp
      >>> import auxjax
      >>> grads = jnp.array([[1.0, 0.0], [1.0, 1.0], [-1.0, 1.0]])  # stacked, T = 3
      >>> tx = auxjax.gcs(num_tasks=3)
      >>> tx.update(grads, tx.init(jnp.zeros(2)))[0]  # the third is turned off
      Array([2., 1.], dtype=float32)

    References:
      Du et al., *Adapting Auxiliary Losses Using Gradient Similarity*, arXiv
      1812.02224: Algorithm 1, Algorithm 2 (appendix C), appendix D.3 (Atari).

    Paper and code:
      The paper's text turns a task on at cos > 0, its Algorithm 1 at cos ≥ 0; here ≥.
      Its moving average starts at 0 and so stays under the threshold for hundreds of
      steps (decay 0.999); here it is debiased.
    """
    check_num_tasks(num_tasks)
    _check(threshold, ema, per_layer, sketch)
    is_plain = is_surely_zero(threshold) and is_surely_zero(ema)
    sign_is_enough = is_plain and not (weighted or per_layer)

    def init_fn(params):
        dtype = weight_dtype(params)
        zeros = jnp.zeros(num_tasks, dtype)
        return GCSState(
            count=jnp.zeros((), jnp.int32),
            weights=jnp.ones(num_tasks, dtype),
            average=None if sign_is_enough else zeros,
            cosines=None if sign_is_enough else zeros,
            squares=None if sketch is None else zeros,
            key=None if sketch is None else _first_key(key),
            steps=None if sign_is_enough else jnp.zeros(num_tasks, jnp.int32),
        )

    def rule(jac, state, *, counted):
        if num_tasks == 2 or per_layer:
            jac = jac.materialize()  # two rows are less than what follows
        mask = jac.shared_mask() if where is None else where
        dtype = state.weights.dtype
        squares, new_key = None, state.key
        # Cosines, or inner products where their sign, or a norm estimated, will do.
        if sketch is not None:
            likeness = jac.gramian_row(0, mask).astype(dtype)
            new_key, own = jax.random.split(state.key)
            squares = jac.norms(mask, sketch=sketch, key=own).astype(dtype) ** 2
        elif sign_is_enough:
            likeness = jac.gramian_row(0, mask).astype(dtype)
        else:
            find = layer_cosines if per_layer else cosine
            likeness = find(jac, mask).astype(dtype)
        both = likeness if squares is None else likeness + squares
        among, broken = relative_to_main(counted, both)
        kept, gated = {}, likeness
        if not sign_is_enough:
            kept = follow(state, ema, likeness, squares, among)
            gated = kept["cosines"]
        gates = gcs_weights(
            gated, weighted=weighted, threshold=jnp.asarray(threshold, dtype)
        )
        weights = jnp.where(among, gates, state.weights)
        new_state = state._replace(
            count=state.count + 1,
            weights=weights,
            key=new_key,
            nonfinite=broken,
            **kept,
        )
        return jac.scale(weights, mask), new_state

    return row_transform(init_fn, rule, num_tasks=num_tasks)


@summed(scale_by_gcs)
def gcs():
    """GCS as an update: `optax.chain(scale_by_gcs(...), sum_tasks())`."""


def _check(threshold: Any, ema: Any, per_layer: bool, sketch: int | None) -> None:
    """A ValueError for what cannot be; traced numbers are let through."""
    if not is_traced(threshold) and not -1.0 <= threshold <= 1.0:
        raise ValueError(f"`threshold` should be in [-1, 1]. Found {threshold}.")
    if not is_traced(ema) and not 0.0 <= ema < 1.0:
        raise ValueError(f"`ema` should be in [0, 1). Found {ema}.")
    if sketch is not None:
        check_at_least("sketch", sketch, 1)
        if is_surely_zero(ema) or per_layer:
            raise ValueError(
                "`sketch` should be given with `ema` above 0 and `per_layer=False`. "
                f"Found {ema} and {per_layer}."
            )


def _first_key(key: Any) -> Any:
    return jax.random.key(0) if key is None else key
