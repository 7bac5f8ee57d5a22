"""Aligned-MTL: gradients are made orthogonal and equally long, then averaged."""

from __future__ import annotations

import functools

import jax.numpy as jnp
import optax

from auxjax._types import Array, ArrayLike, Bool, Float, Mask
from auxjax.aggregation._build import Groups, from_weights
from auxjax.aggregation._preference import check_preference, preference_weights
from auxjax.aggregation._spectrum import divide, dot, everybody, only, spectrum

SCALE_MODES = ("min", "median", "rmse")


def aligned_mtl_weights(
    gramian: Float[Array, "T T"],
    present: Bool[Array, " T"] | None = None,
    *,
    scale_mode: str = "min",
    preference: ArrayLike | None = None,
) -> Float[Array, " T"]:
    r"""The weights of the mean of the aligned gradients.

        J Jᵀ = V Λ Vᵀ,   B = √λ V Λ^(−½) Vᵀ,   w = B p                (Algorithm 1)

    over the eigenvalues that are not zero. The rows of BJ are orthogonal and all have
    the length √λ (where J has full rank): its condition number is 1.

    Args:
      gramian: J Jᵀ.
      present: the task mask; None: all.
      scale_mode: which λ: `"min"`, the smallest eigenvalue that is not zero;
        `"median"`, the (lower) median of those; `"rmse"`, their mean.
      preference: p `[T]`; None: 1/T each (1/the number present).

    Returns:
      w `[T]`; p where the Gramian is zero. In float32, singular values of J that are
      about 1e-3 times the largest, or less, count as zero: a Gramian holds no more.

    Raises:
      ValueError: for another `scale_mode`.

    Example:
      >>> import jax.numpy as jnp
      >>> import auxjax
      >>> gramian = jnp.array([[1.0, 0.0], [0.0, 16.0]])
      >>> auxjax.aligned_mtl_weights(gramian).tolist()  # both rows at length 1, halved
      [0.5, 0.125]

    References:
      Senushkin et al., *Independent Component Alignment for Multi-Task Learning*,
      CVPR 2023, arXiv 2305.19000, Algorithm 1.
    """
    if scale_mode not in SCALE_MODES:
        raise ValueError(
            f"`scale_mode` should be one of {SCALE_MODES}. Found {scale_mode!r}."
        )
    here = everybody(present, gramian)
    matrix = only(here, gramian)
    # B is the same for any multiple of the Gramian: keep clear of over- and underflow.
    values, vectors, kept = spectrum(divide(matrix, jnp.max(jnp.diagonal(matrix))))
    rank = jnp.sum(kept)
    first = kept.shape[0] - rank  # the kept ones come last, in ascending order
    if scale_mode == "rmse":
        total = jnp.sum(jnp.where(kept, values, 0.0))
        scale = total / jnp.maximum(rank, 1).astype(total.dtype)
    else:
        skip = 0 if scale_mode == "min" else jnp.maximum(rank - 1, 0) // 2
        scale = values[jnp.minimum(first + skip, kept.shape[0] - 1)]
    wanted = preference_weights(preference, gramian, present)
    stretch = jnp.where(kept, jnp.sqrt(scale / values), 0.0)
    aligned = dot(vectors, stretch * dot(vectors.T, wanted))
    return jnp.where(rank > 0, aligned, wanted)


def aligned_mtl(
    scale_mode: str = "min",
    preference: ArrayLike | None = None,
    *,
    where: Mask | None = None,
    groups: Groups = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Averages the gradients after making them orthogonal and equally long.

    See `aligned_mtl_weights` for the formula.

    Args:
      scale_mode: how long the aligned gradients are: as the smallest singular value
        of J that is not zero (`"min"`, the paper's), their lower median (`"median"`),
        or their root mean square (`"rmse"`).
      preference: p `[T]`, none below zero, the weights of the aligned gradients; None:
        1/T each.
      where: the shared parameters; None: those that at least two losses depend on.
        Elsewhere the rows are summed.
      groups: which parameters are aggregated together; None: all; `"leaf"`: each leaf
        alone; a pytree of labels or a function that makes one.

    Returns:
      An aggregator, Jacobian → gradient: T backward passes, one `[T, T]` eigenproblem.

    Raises:
      ValueError: for another `scale_mode`, or a preference that is no vector of finite
        numbers ≥ 0; from the update, for one with another number of entries than tasks.

    Example:
      >>> import jax.numpy as jnp
      >>> import auxjax
      >>> tx = auxjax.aligned_mtl()
      >>> grads = jnp.array([[1.0, 0.0], [0.0, 4.0]])
      >>> tx.update(grads, tx.init(jnp.zeros(2)))[0].tolist()
      [0.5, 0.5]

    References:
      Senushkin et al., *Independent Component Alignment for Multi-Task Learning*,
      CVPR 2023, arXiv 2305.19000, Algorithm 1.
    """
    if scale_mode not in SCALE_MODES:
        raise ValueError(
            f"`scale_mode` should be one of {SCALE_MODES}. Found {scale_mode!r}."
        )
    check_preference(preference)
    weights = functools.partial(
        aligned_mtl_weights, scale_mode=scale_mode, preference=preference
    )
    return from_weights(weights, where=where, groups=groups)
