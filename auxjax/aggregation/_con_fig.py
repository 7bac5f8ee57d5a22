"""ConFIG: one direction with equal, positive cosines to all gradients."""

from __future__ import annotations

import functools

import jax.numpy as jnp
import optax

from auxjax._types import Array, ArrayLike, Bool, Float, Mask
from auxjax.aggregation._build import Groups, from_weights
from auxjax.aggregation._preference import check_preference, preference_weights
from auxjax.aggregation._spectrum import cosine_weights, divide, dot, unit_gramian


def con_fig_weights(
    gramian: Float[Array, "T T"],
    present: Bool[Array, " T"] | None = None,
    *,
    preference: ArrayLike | None = None,
) -> Float[Array, " T"]:
    r"""The weights of the conflict-free gradient.

        g = (Σᵢ ⟨∇Lᵢ, d⟩) d,   d = U⁺p / ‖U⁺p‖,   uᵢ = ∇Lᵢ / ‖∇Lᵢ‖           (Eq. 2-3)

    with p = 1. U⁺p = Uᵀβ with β = (U Uᵀ)⁺ p, so the Gramian is enough:
    wᵢ = (Σⱼ ‖∇Lⱼ‖ (U Uᵀβ)ⱼ) / (βᵀ U Uᵀβ) · βᵢ / ‖∇Lᵢ‖.

    Args:
      gramian: J Jᵀ.
      present: the task mask; None: all.
      preference: p `[T]`, what the cosines are proportional to; None: ones.

    Returns:
      w `[T]`; 0 for a task whose gradient is zero; all zeros where U⁺p is zero, as for
      opposed gradients. In float32, gradients within about 1e-3 radians of each other,
      or of being opposed, count as if they were so exactly.

    Example:
      >>> import jax.numpy as jnp
      >>> import auxjax
      >>> gramian = jnp.array([[1.0, 0.0], [0.0, 9.0]])  # norms 1 and 3
      >>> [round(w, 5) for w in auxjax.con_fig_weights(gramian).tolist()]
      [2.0, 0.66667]

    References:
      Liu, Chu, Thuerey, *ConFIG: Towards Conflict-free Training of Physics Informed
      Neural Networks*, ICLR 2025, arXiv 2408.11104, Eq. 2-3.
    """
    norms, cosines = unit_gramian(gramian, present)
    wanted = jnp.ones_like(norms)
    if preference is not None:
        wanted = preference_weights(preference, gramian, present)
    beta = cosine_weights(cosines, wanted)
    seen = dot(cosines, beta)  # ⟨uᵢ, U⁺p⟩: p, where that is possible
    return divide(dot(norms, seen), dot(beta, seen)) * divide(beta, norms)


def con_fig(
    preference: ArrayLike | None = None,
    *,
    where: Mask | None = None,
    groups: Groups = None,
) -> optax.GradientTransformationExtraArgs:
    r"""The conflict-free gradient: equal cosines, as long as the gradients agree.

    See `con_fig_weights` for the formula. While the gradients are linearly independent
    no task is harmed, and the length is the sum of the rows' projections: it shrinks
    when they conflict.

    Args:
      preference: p `[T]`, none below zero: the cosines with the gradients are
        proportional to it; None: they are equal.
      where: the shared parameters; None: those that at least two losses depend on.
        Elsewhere the rows are summed.
      groups: which parameters are aggregated together; None: all; `"leaf"`: each leaf
        alone; a pytree of labels or a function that makes one.

    Returns:
      An aggregator, Jacobian → gradient: T backward passes, one `[T, T]` eigenproblem.

    Raises:
      ValueError: for a preference that is no vector of finite numbers ≥ 0; from the
        update, for one with another number of entries than tasks.

    Example:
      >>> import jax.numpy as jnp
      >>> import auxjax
      >>> tx = auxjax.con_fig()
      >>> grads = jnp.array([[1.0, 0.0], [0.0, 3.0]])
      >>> g, _ = tx.update(grads, tx.init(jnp.zeros(2)))
      >>> [round(x, 5) for x in g.tolist()]  # (1 + 3) / √2 times [1, 1] / √2
      [2.0, 2.0]

    References:
      Liu, Chu, Thuerey, *ConFIG: Towards Conflict-free Training of Physics Informed
      Neural Networks*, ICLR 2025, arXiv 2408.11104, Eq. 2-3.
    """
    check_preference(preference)
    weights = functools.partial(con_fig_weights, preference=preference)
    return from_weights(weights, where=where, groups=groups)
