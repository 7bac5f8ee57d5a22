"""IMTL-G: a step that looks the same from every task's gradient."""

from __future__ import annotations

import jax.numpy as jnp
import optax

from auxjax._types import Array, Bool, Float, Mask
from auxjax.aggregation._build import Groups, from_weights
from auxjax.aggregation._spectrum import (
    cosine_weights,
    divide,
    dot,
    noise_of,
    spectrum,
    unit_gramian,
)


def imtl_g_weights(
    gramian: Float[Array, "T T"], present: Bool[Array, " T"] | None = None
) -> Float[Array, " T"]:
    r"""The weights, summing to 1, that give equal projections on all unit gradients.

        ⟨Σⱼ wⱼ∇Lⱼ, uᵢ⟩ the same for all i,  Σ w = 1,  uᵢ = ∇Lᵢ / ‖∇Lᵢ‖       (Eq. 1-2)

    The closed form of Eq. 6, in unit gradients: β ∝ (U Uᵀ)⁻¹ 1, wᵢ ∝ βᵢ / ‖∇Lᵢ‖. Where
    U Uᵀ is singular, it is the limit of β ∝ (U Uᵀ + δI)⁻¹ 1 as δ → 0, that of gradients
    that each have a little to themselves:

    - where some direction has equal projections that are not 0 (parallel gradients, for
      one), β ∝ (U Uᵀ)⁺ 1;
    - where none has (opposed gradients, more tasks than dimensions), β ∝ N Nᵀ 1, with N
      the null space of U Uᵀ. Then Σ wᵢ∇Lᵢ = 0: Eq. 1-2 have no other solution, and
      Eq. 6, where it is not singular itself, gives the same w.

    Args:
      gramian: J Jᵀ.
      present: the task mask; None: all.

    Returns:
      w `[T]`. Tasks whose gradient is zero get 0. All zeros where no w sums to 1. A
      projection counts as 0 below √(10 T ε), 2e-3 in float32 for three tasks.

    Example:
      >>> import jax.numpy as jnp
      >>> import auxjax
      >>> gramian = jnp.array([[1.0, 0.0], [0.0, 9.0]])  # norms 1 and 3
      >>> auxjax.imtl_g_weights(gramian).tolist()
      [0.75, 0.25]

    References:
      Liu et al., *Towards Impartial Multi-task Learning*, ICLR 2021, Eq. 1-6.
    """
    norms, cosines = unit_gramian(gramian, present)
    alive = (norms > 0).astype(norms.dtype)
    _, vectors, kept = spectrum(cosines)
    along = jnp.where(kept, 0.0, dot(vectors.T, alive))
    stuck = dot(along, along) > noise_of(cosines) * jnp.sum(alive)
    beta = jnp.where(stuck, dot(vectors, along), cosine_weights(cosines, alive))
    v = divide(beta, norms)
    total = jnp.sum(v)
    solid = jnp.abs(total) > noise_of(gramian) * jnp.sum(jnp.abs(v))
    return divide(v, jnp.where(solid, total, 0.0))


def imtl_g(
    *, where: Mask | None = None, groups: Groups = None
) -> optax.GradientTransformationExtraArgs:
    r"""Steps where all tasks' unit gradients agree: impartial whatever the loss scales.

    See `imtl_g_weights` for the formula. The weights sum to 1 but may be negative:
    where a short gradient gets a negative weight, that sum can turn the whole step
    against the tasks. The paper says nothing of it, and so it is here.

    Where no direction is the same for all tasks, the step is 0, as the equations of the
    paper have it: with more tasks than dimensions (mind `groups="leaf"` on small
    leaves), and with a gradient that is a sum of others. `con_fig` follows the
    least-squares direction there.

    Args:
      where: the shared parameters; None: those that at least two losses depend on.
        Elsewhere the rows are summed.
      groups: which parameters are aggregated together; None: all; `"leaf"`: each leaf
        alone; a pytree of labels or a function that makes one.

    Returns:
      An aggregator, Jacobian → gradient: T backward passes, one `[T, T]` eigenproblem.

    Example:
      >>> import jax.numpy as jnp
      >>> import auxjax
      >>> tx = auxjax.imtl_g()
      >>> grads = jnp.array([[1.0, 0.0], [0.0, 3.0]])
      >>> tx.update(grads, tx.init(jnp.zeros(2)))[0].tolist()
      [0.75, 0.75]

    References:
      Liu et al., *Towards Impartial Multi-task Learning*, ICLR 2021, Eq. 1-6.

    Paper and code:
      Where the rows are linearly independent all agree. Where they are not:

      | | paper | TorchJD | here |
      |---|---|---|---|
      | w | Eq. 6 | (J Jᵀ)⁺ n / Σ, n the norms | the limit of Eq. 6 |
      | one row too many, as [1, 0], [0, 1], [2, 2] | no step | any step | no step |
      | parallel rows | undefined | the longer weighs more | as if nearly parallel |
      | opposed rows | no step | any step, unless equally long | no step |
    """
    return from_weights(imtl_g_weights, where=where, groups=groups)
