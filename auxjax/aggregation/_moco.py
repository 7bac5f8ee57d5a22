"""MoCo: the common descent direction of gradients that are tracked over the batches."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from auxjax._types import Array, Bool, Float, Mask, Number
from auxjax.aggregation._build import gramian_of, weighted_sum
from auxjax.aggregation._checks import check_integer, check_number
from auxjax.aggregation._sdmgrad import onto_simplex
from auxjax.aggregation._spectrum import dot, everybody, only
from auxjax.jacobian import (
    Layout,
    as_dtype,
    as_jacobian,
    as_real,
    check_task_mask,
    unless_spoilt,
    wide,
)


class MoCoState(NamedTuple):
    """State of `moco`."""

    weights: jax.Array  # [T] float, λ on the simplex
    tracked: Any  # Y: for each leaf [T, *param] float, or None outside `where`


def moco_weights(
    gramian: Float[Array, "T T"],
    weights: Float[Array, " T"],
    *,
    learning_rate: Number = 0.1,
    regularisation: Number = 0.1,
    present: Bool[Array, " T"] | None = None,
) -> Float[Array, " T"]:
    r"""One step of λ towards the shortest convex combination.

        λ ← Π(λ − γ (G + ρI) λ)

    with Π the projection onto the simplex: a gradient step on ½ λᵀGλ + ½ ρ‖λ‖².

    Args:
      gramian: G, of the tracked gradients. Of two independent batches it need not be
        symmetric.
      weights: λ.
      learning_rate: γ.
      regularisation: ρ, which pulls λ to equal weights.
      present: the task mask; None: all.

    Returns:
      λ `[T]`; it sums to 1 over the tasks present, absent ones' stays.

    Example:
      >>> import jax.numpy as jnp
      >>> import auxjax
      >>> gramian, half = jnp.diag(jnp.array([3.0, 1.0])), jnp.array([0.5, 0.5])
      >>> found = auxjax.moco_weights(gramian, half, regularisation=0.0)
      >>> [round(float(x), 3) for x in found]  # (0.35, 0.45) and 0.1 each
      [0.45, 0.55]

    References:
      Fernando et al., ICLR 2023, arXiv 2210.12624.
    """
    here = everybody(present, gramian)
    old = weights.astype(gramian.dtype)
    gamma, rho = (
        jnp.asarray(x, gramian.dtype) for x in (learning_rate, regularisation)
    )
    slope = dot(only(here, gramian), old) + rho * old
    moved = onto_simplex(old - gamma * slope, here)
    return jnp.where(here, moved, old).astype(weights.dtype)


def moco(
    num_tasks: int = 2,
    *,
    tracking_rate: Number = 0.1,
    learning_rate: Number = 0.1,
    regularisation: Number = 0.1,
    where: Mask | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Follows the common descent direction of gradients that are tracked over time.

        yᵢ ← yᵢ − β (yᵢ − ∇Lᵢ)                       each task's gradient, tracked
        λ ← Π(λ − γ (Y Yᵀ + ρI) λ)                  on the simplex
        d = Σᵢ λᵢ yᵢ

    MGDA on single batches is biased: its weights and its gradients come from the same
    noise, and the shortest vector is too short. Here both follow averages over many
    batches, of whatever size, and d comes to the direction of the true gradients.

    Y begins at 0, so that the first steps are β, 2β, … of their length.

    Args:
      num_tasks: T, main task included.
      tracking_rate: β in (0, 1]; 1: the batch's own gradients. A schedule, as the
        paper's, by `optax.inject_hyperparams`.
      learning_rate: γ, of λ. It goes with the square of the gradients' lengths: losses
        of unlike size need `scale_by_log_loss` in front, or another γ.
      regularisation: ρ, which pulls λ to equal weights.
      where: the shared parameters, as in `optax.masked`; None: those that at least two
        losses depend on. Elsewhere the rows are summed, as they are.

    Returns:
      An aggregator, Jacobian → gradient; its state's `weights` are λ `[T]`. Price: T
      backward passes, and Y in memory: T times the parameters, those in `where` (None:
      all of them, since which are shared is not known at the start). With `task_mask=`
      `[T]` absent tasks' yᵢ and λᵢ stay, and λ is projected for those present. A step
      with a number that is not finite is passed on and leaves no trace.

    Raises:
      ValueError: for β outside (0, 1], γ or ρ below 0; from the update, for another
        number of tasks.

    Example:
      >>> import jax.numpy as jnp
      >>> import auxjax
      >>> tx = auxjax.moco(tracking_rate=0.5, learning_rate=0.0)
      >>> grads = jnp.array([[4.0, 0.0], [0.0, 8.0]])
      >>> g, state = tx.update(grads, tx.init(jnp.zeros(2)))
      >>> g.tolist()  # y: half of each; λ: one half each
      [1.0, 2.0]
      >>> g, state = tx.update(grads, state)
      >>> g.tolist()
      [1.5, 3.0]

    References:
      Fernando, Shen, Liu, Chaudhury, Murugesan, Chen, *Mitigating Gradient Bias in
      Multi-objective Learning: A Provably Convergent Stochastic Approach*, ICLR 2023,
      arXiv 2210.12624. The updates here are those of the authors' code.

    Paper and code:
      | | authors' code | LibMTL | here |
      |---|---|---|---|
      | λ is kept on the simplex by | a projection | a softmax | a projection |
      | rows | as they are, or normalised | Lᵢ∇Lᵢ/‖∇Lᵢ‖ | as they are |
      | β, γ, ρ | 0.1 each | 0.5/√k, 0.1/√k, 0 | 0.1 each |
      | y stays in a ball (paper) | no | no | no |
    """
    num_tasks = check_integer("num_tasks", num_tasks)
    _check(tracking_rate, learning_rate, regularisation)

    def init_fn(params):
        layout = Layout(params)
        dtype = wide(*(layout.dtypes[leaf] for leaf in layout.differentiable))
        wanted = dict(zip(layout.differentiable, layout.mask(where), strict=True))

        def zeros(leaf):
            if not wanted.get(leaf):
                return None
            like = as_real(jnp.zeros(layout.shapes[leaf], layout.dtypes[leaf]))
            return jnp.zeros((num_tasks, *like.shape), dtype)

        return MoCoState(
            weights=jnp.full(num_tasks, 1.0 / num_tasks, dtype),
            tracked=[zeros(leaf) for leaf in range(len(layout.shapes))],
        )

    def update_fn(
        updates, state, params=None, *, losses=None, task_mask=None, **extra_args
    ):
        del extra_args
        jac = as_jacobian(updates, params, num_tasks=num_tasks, losses=losses)
        present = check_task_mask(task_mask, num_tasks)
        jac = jac if present is None else jac.mask(present)
        rows = jac.leaf_rows(jac.shared_mask() if where is None else where)
        tracked = list(state.tracked)
        for leaf, x in enumerate(rows):
            if x is not None:
                tracked[leaf] = _follow(tracked[leaf], x, tracking_rate, present)
        own = [leaf for leaf, x in enumerate(rows) if x is not None]
        y = [tracked[leaf] for leaf in own]
        weights = moco_weights(
            gramian_of(y),
            state.weights,
            learning_rate=learning_rate,
            regularisation=regularisation,
            present=present,
        )
        grads: list[Any] = list(rows)
        if len(own) < len(rows):  # they keep the plain sum
            grads = jax.tree.leaves(jac.vjp(jnp.ones(num_tasks)))
        for leaf, grad in zip(own, weighted_sum(weights, y, present), strict=True):
            grads[leaf] = as_dtype(grad, grads[leaf].dtype)
        after = unless_spoilt(MoCoState(weights, tracked), state)
        return jax.tree.unflatten(jac.structure, grads), after

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _follow(
    y: jax.Array, rows: jax.Array, rate: Number, present: jax.Array | None
) -> jax.Array:
    """A step of the tracked rows of one leaf `[T, *param]`; absent tasks' stay."""
    moved = y - jnp.asarray(rate, y.dtype) * (y - as_real(rows).astype(y.dtype))
    if present is None:
        return moved
    return jnp.where(present.reshape((-1,) + (1,) * (y.ndim - 1)), moved, y)


def _check(tracking_rate, learning_rate, regularisation) -> None:
    check_number(
        "tracking_rate", tracking_rate, "in (0, 1]", lambda x: (x > 0) & (x <= 1)
    )
    for name, value in (
        ("learning_rate", learning_rate),
        ("regularisation", regularisation),
    ):
        check_number(
            name, value, "finite and at least 0", lambda x: 0 <= x < float("inf")
        )
