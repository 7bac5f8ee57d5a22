"""MoDo: the common descent direction, its weights from two independent batches."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from auxjax._types import Array, Bool, Float, Mask, Number
from auxjax.aggregation import onto_simplex
from auxjax.jacobian import Jacobian, as_jacobian
from auxjax.weighting._alias import summed
from auxjax.weighting._build import row_transform
from auxjax.weighting._checks import check_not_negative, check_num_tasks, weight_dtype


class MoDoState(NamedTuple):
    """State of `scale_by_modo`."""

    weights: jax.Array  # [T] float, λ on the simplex, those of the last update
    nonfinite: Any = None  # [T] int32, how often a task was not finite


def modo_weights(
    products: Float[Array, " T"],
    weights: Float[Array, " T"],
    *,
    learning_rate: Number = 0.1,
    regularisation: Number = 0.1,
    present: Bool[Array, " T"] | None = None,
) -> Float[Array, " T"]:
    r"""One step of λ, from what it makes of two batches.

        λ ← Π(λ − γ (J₁ J₂ᵀ λ + ρ λ))

    Args:
      products: J₁ J₂ᵀ λ `[T]`: the slope of each loss on one batch along the weighted
        gradient of another.
      weights: λ `[T]`.
      learning_rate: γ.
      regularisation: ρ.
      present: whose λ moves, on their own simplex; the others' stay. None: all.

    Returns:
      λ `[T]`.

    Example:
      >>> import jax.numpy as jnp
      >>> import auxjax
      >>> found = auxjax.modo_weights(jnp.array([1.5, 0.5]), jnp.array([0.5, 0.5]))
      >>> [round(float(x), 3) for x in found]  # (0.345, 0.445) and 0.105 each
      [0.45, 0.55]

    References:
      Chen et al., NeurIPS 2023, arXiv 2305.20057.
    """
    dtype = weights.dtype
    here = jnp.ones(weights.shape, bool) if present is None else present
    gamma, rho = (jnp.asarray(x, dtype) for x in (learning_rate, regularisation))
    slope = products.astype(dtype) + rho * weights
    return jnp.where(here, onto_simplex(weights - gamma * slope, here), weights)


def scale_by_modo(
    num_tasks: int = 2,
    *,
    learning_rate: Number = 0.1,
    regularisation: Number = 0.1,
    where: Mask | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Scales the rows by weights that descend to the shortest combination, unbiased.

        λ ← Π(λ − γ (J₁ J₂ᵀ λ + ρ λ)),   the step is Σᵢ λᵢ∇Lᵢ with the new λ

    with Π the projection onto the simplex and J₁, J₂ of two independent batches: the
    Gramian of a single one, J Jᵀ, is too large by its noise. Only J₁ J₂ᵀ λ is needed,
    and that is a backward pass on one batch and a tangent pass on the other: no
    gradient is stacked, forty tasks cost what two do. The update takes Jacobians as
    extra arguments, as `sdmgrad` does:

    | given | λ follows | the step is made of |
    |---|---|---|
    | nothing | J Jᵀ of `updates`: biased | `updates` |
    | `second_jacobian=` | J J₂ᵀ | `updates` |
    | `second_jacobian=`, `third_jacobian=` | J₂ J₃ᵀ | `updates` |

    The paper's step from both batches is the last row with `updates` taken on the two
    together, the mean of their losses.

    Only the rows' shared part is scaled: a head gets its own gradient.

    Args:
      num_tasks: T, main task included.
      learning_rate: γ. It goes with the square of the gradients' lengths: losses of
        unlike size need `scale_by_log_loss` in front, or another γ. That scales the
        rows of `updates` alone, not those of the other Jacobians.
      regularisation: ρ, which pulls λ to equal weights.
      where: the shared parameters, as in `optax.masked`; None: those that at least two
        losses depend on.

    Returns:
      A row transform, Jacobian → Jacobian; its state's `weights` `[T]` are λ, that the
      last step was made with. Price: one backward and one tangent pass beside the
      step's own, whatever T, and a forward pass for each further Jacobian (of a single
      one with two tasks, two backward passes in all). With `task_mask=` `[T]` absent
      tasks' λ stay, and the others' sum to 1. A row that is not finite is passed on,
      and all λ stay as they were.

    Raises:
      ValueError: for num_tasks < 2, γ or ρ below 0; from the update, for another number
        of tasks, or a third Jacobian without a second.

    Example:
      >>> import jax.numpy as jnp
      >>> import auxjax
      >>> tx = auxjax.modo(learning_rate=0.5, regularisation=0.0)
      >>> one, two = jnp.diag(jnp.array([2.0, 1.0])), jnp.diag(jnp.array([1.0, 0.0]))
      >>> g, state = tx.update(one, tx.init(jnp.zeros(2)), second_jacobian=two)
      >>> state[0].weights.tolist()  # J₁J₂ᵀλ = (1, 0); (0, ½) and ¼ each
      [0.25, 0.75]
      >>> g.tolist()
      [0.5, 0.75]

    References:
      Chen, Fernando, Ying, Chen, *Three-Way Trade-Off in Multi-Objective Learning:
      Optimization, Generalization and Conflict-Avoidance*, NeurIPS 2023, arXiv
      2305.20057. The updates here are those of the authors' code.

    Paper and code:
      | | authors' code | LibMTL | TorchJD | here |
      |---|---|---|---|---|
      | the step is of | the sum of both batches | a third one | yours | `updates` |
      | γ, ρ | 0.1, 0.1 | 0.001, 0.1 | 0.1, 0.1 | 0.1, 0.1 |
      | J₁ J₂ᵀ | rows written down | likewise | likewise | two passes |
      | heads | unweighted | unweighted, a third | yours | unweighted |
    """
    check_num_tasks(num_tasks)
    check_not_negative(learning_rate=learning_rate, regularisation=regularisation)

    def init_fn(params):
        return MoDoState(jnp.full(num_tasks, 1 / num_tasks, weight_dtype(params)))

    def rule(
        jac, state, *, params, task_mask, counted, second_jacobian, third_jacobian
    ):
        if third_jacobian is not None and second_jacobian is None:
            raise ValueError(
                "`second_jacobian` should be given with `third_jacobian`. Found None."
            )
        if num_tasks == 2 and second_jacobian is None:
            jac = jac.materialize()  # two rows are less than what follows
        shared = jac.shared_mask() if where is None else where
        others: list[Jacobian] = [jac, jac]
        for number, given in enumerate((second_jacobian, third_jacobian)):
            if given is not None:
                other = as_jacobian(given, params, num_tasks=num_tasks)
                other = other if task_mask is None else other.mask(task_mask)
                others = [others[number], other]
        one, two = others
        weights = state.weights
        known = jnp.where(counted, weights, jnp.zeros_like(weights))
        products = one.jvp(_conjugate(two.vjp(known)), shared)
        weights = modo_weights(
            products,
            weights,
            learning_rate=learning_rate,
            regularisation=regularisation,
            present=counted,
        )
        return jac.scale(weights, shared), MoDoState(weights)

    return row_transform(init_fn, rule, num_tasks=num_tasks)


@summed(scale_by_modo)
def modo():
    """MoDo as an update: `chain(scale_by_modo(...), sum_tasks())`."""


def _conjugate(gradient: Any) -> Any:
    """A gradient as a direction: JAX's is the conjugate of the ascent's."""
    return jax.tree.map(lambda x: jnp.conj(x) if jnp.iscomplexobj(x) else x, gradient)
