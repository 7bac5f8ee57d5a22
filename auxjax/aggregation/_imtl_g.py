"""IMTL-G: a step that looks the same from every task's gradient."""

from __future__ import annotations

import jax.numpy as jnp
import optax

from auxjax._types import Array, Bool, Float, Mask
from auxjax.aggregation._build import Groups, from_weights
from auxjax.aggregation._spectrum import cosine_weights, divide, noise_of, unit_gramian


def imtl_g_weights(
    gramian: Float[Array, "T T"], present: Bool[Array, " T"] | None = None
) -> Float[Array, " T"]:
    r"""The weights, summing to 1, that give equal projections on all unit gradients.

        ⟨Σⱼ wⱼ∇Lⱼ, uᵢ⟩ the same for all i,  Σ w = 1,  uᵢ = ∇Lᵢ / ‖∇Lᵢ‖       (Eq. 1-2)

    The closed form of Eq. 6, in unit gradients: β = (U Uᵀ)⁺ 1, wᵢ ∝ βᵢ / ‖∇Lᵢ‖.

    Args:
      gramian: J Jᵀ.
      present: the task mask; None: all.

    Returns:
      w `[T]`. Tasks whose gradient is zero get 0. Parallel gradients share the weight
      of one; where no direction is the same for all, the least-squares one; all zeros
      where that vanishes, as for opposed gradients.

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
    v = divide(cosine_weights(cosines, jnp.ones_like(norms)), norms)
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
      | w | undefined | (J Jᵀ)⁺ n / Σ, n the norms | (U Uᵀ)⁺ 1 / n / Σ |
      | parallel rows | | the longer weighs more | the limit of nearly parallel rows |
      | opposed rows | | any step, unless equally long | no step |
    """
    return from_weights(imtl_g_weights, where=where, groups=groups)
