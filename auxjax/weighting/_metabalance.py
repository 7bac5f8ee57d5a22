"""MetaBalance: auxiliary gradients about as long as the main one, layer by layer."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from auxjax._types import Mask, Number
from auxjax.jacobian import Jacobian, as_real
from auxjax.weighting._alias import summed
from auxjax.weighting._averages import average
from auxjax.weighting._build import row_transform
from auxjax.weighting._checks import (
    check_decay,
    check_num_tasks,
    check_share,
    weight_dtype,
)

STRATEGIES = ("both", "shrink", "grow")


class MetaBalanceState(NamedTuple):
    """State of `scale_by_metabalance`."""

    weights: jax.Array  # [T] float, the mean over the leaves; the main task's is 1
    averages: jax.Array  # [T, leaves] float, of ‖∇Lᵢ‖ before debiasing; [T, 1]: whole
    steps: jax.Array  # [T] int32, how many norms each average holds
    nonfinite: Any = None  # [T] int32, how often a task was not finite


def scale_by_metabalance(
    num_tasks: int = 2,
    *,
    relax: Number = 0.7,
    beta: Number = 0.9,
    strategy: str = "both",
    per_layer: bool = True,
    where: Mask | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Scales auxiliary rows, leaf by leaf, towards the length of the main task's.

        m̂ᵢ: moving average of ‖∇Lᵢ‖ on a leaf, decay β
        ∇Lᵢ ← r (m̂_main / m̂ᵢ) ∇Lᵢ + (1 − r) ∇Lᵢ      for the auxiliary tasks

    With r = 1 they pull with the main task's force in every layer, with r = 0 nothing
    is changed. Which way they point plays no part. A leaf that the main task, or the
    auxiliary one, has no gradient on is left alone.

    The averages are debiased by the number of a task's own norms; a task that is absent
    (`task_mask=`) or not finite keeps its average, the main one too: the others are
    then held against its last.

    Args:
      num_tasks: T, main task included.
      relax: r, in [0, 1].
      beta: β, in [0, 1); 0: the norms of now.
      strategy: which gradients are changed: those longer than the main one's
        (`"shrink"`, the paper's A), those shorter (`"grow"`, its B), or `"both"`
        (its C, and the one of its experiments).
      per_layer: each leaf has norms and weights of its own; False: all of `where`
        together, which needs no rows in memory.
      where: the shared parameters; None: the leaves that at least two losses depend
        on. A head always gets its own gradient.

    Returns:
      A row transform, Jacobian → Jacobian; its state's `weights` `[T]` are the means
      over the leaves in `where`. Price: T backward passes in all, the rows written
      down; with `per_layer=False` T + 1, and no row in memory.

    Raises:
      ValueError: for num_tasks < 2, r outside [0, 1], β outside [0, 1), another
        `strategy`.

    Example:
      >>> import jax.numpy as jnp
      >>> import auxjax
      >>> tx = auxjax.scale_by_metabalance(relax=0.5)
      >>> grads = {"a": jnp.array([[3.0], [1.0]]), "b": jnp.array([[1.0], [4.0]])}
      >>> params = {"a": jnp.zeros(1), "b": jnp.zeros(1)}
      >>> rows, state = tx.update(grads, tx.init(params), params)
      >>> rows["a"].tolist(), rows["b"].tolist()  # ½ 3 + ½ 1 and ½ 1 + ½ 4
      ([[3.0], [2.0]], [[1.0], [2.5]])
      >>> [round(float(w), 4) for w in state.weights]  # the mean of 2 and 0.625
      [1.0, 1.3125]

    References:
      He, Feng, Cheng, Ji, Guo, Caverlee, *MetaBalance: Improving Multi-Task
      Recommendations via Adapting Gradient Magnitudes of Auxiliary Tasks*, WWW 2022,
      arXiv 2203.06801: strategies A, B and C, moving averages, relax factor.

    Paper and code:
      | | released code | here |
      |---|---|---|
      | strategy | C | `strategy="both"` |
      | averages | begin at 0, as many norms for each task | debiased: their ratio |
      | r, β | 0.7, 0.9 | the same |
      | m̂ᵢ = 0 | NaN | left alone |
      | parts of the network | parameter tensors | leaves |
    """
    check_num_tasks(num_tasks)
    check_share(relax=relax)
    check_decay(beta=beta)
    if strategy not in STRATEGIES:
        raise ValueError(
            f"`strategy` should be one of {', '.join(STRATEGIES)}. Found {strategy!r}."
        )

    def init_fn(params):
        dtype = weight_dtype(params)
        parts = len(jax.tree.leaves(params)) if per_layer else 1
        return MetaBalanceState(
            weights=jnp.ones(num_tasks, dtype),
            averages=jnp.zeros((num_tasks, parts), dtype),
            steps=jnp.zeros(num_tasks, jnp.int32),
        )

    def rule(jac, state, *, counted):
        if per_layer or num_tasks == 2:
            jac = jac.materialize()  # or each leaf's weights would be a backward pass
        mask = jac.shared_mask() if where is None else where
        dtype = state.weights.dtype
        norms, kept = _norms(jac, mask, per_layer, dtype)
        finite = jnp.all(jnp.isfinite(norms), axis=1)
        among = jnp.logical_and(counted, finite)

        after = average(state.averages, state.steps, norms, among, beta)
        w = _weights(after.mean, jnp.asarray(relax, dtype), strategy)

        if not per_layer:
            scaled = jac.scale(w[:, 0], mask)
        else:
            scaled = jac
            for leaf in kept:
                own = [leaf == other for other in range(norms.shape[1])]
                own_mask = jax.tree.unflatten(jac.structure, own)
                scaled = scaled.scale(w[:, leaf], own_mask)
        mean = jnp.mean(w[:, kept], axis=1) if kept else jnp.ones_like(state.weights)
        broken = jnp.logical_and(counted, ~finite)
        new_state = MetaBalanceState(mean, after.total, after.steps, nonfinite=broken)
        return scaled, new_state

    return row_transform(init_fn, rule, num_tasks=num_tasks)


@summed(scale_by_metabalance)
def metabalance():
    """MetaBalance as an update: `chain(scale_by_metabalance(...), sum_tasks())`."""


def _norms(
    jac: Jacobian, mask: Mask, per_layer: bool, dtype: Any
) -> tuple[jax.Array, list[int]]:
    """‖∇Lᵢ‖ `[T, leaves]`, 0 outside the mask, and the leaves inside; or `[T, 1]`."""
    if not per_layer:
        return jac.norms(mask).astype(dtype)[:, None], [0]

    def norm(rows):
        if rows is None:
            return jnp.zeros(jac.num_tasks, dtype)
        wide = as_real(rows).astype(dtype)
        return jnp.sqrt(jnp.sum(wide * wide, axis=tuple(range(1, wide.ndim))))

    rows = jac.leaf_rows(mask)
    kept = [leaf for leaf, x in enumerate(rows) if x is not None]
    return jnp.stack([norm(x) for x in rows], axis=1), kept


def _weights(averages: jax.Array, relax: jax.Array, strategy: str) -> jax.Array:
    """The factors r m̂_main/m̂ᵢ + 1 − r, `[T, leaves]`; 1 where one of the two is 0."""
    main = averages[:1]
    known = jnp.logical_and(averages > 0, main > 0)
    ratio = jnp.where(known, main / jnp.where(known, averages, 1), 1)
    if strategy == "shrink":
        ratio = jnp.minimum(ratio, 1)
    if strategy == "grow":
        ratio = jnp.maximum(ratio, 1)
    return (1 + relax * (ratio - 1)).at[0].set(1)
