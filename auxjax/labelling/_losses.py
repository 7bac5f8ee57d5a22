"""The pieces of the losses and rewards, as pure functions."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from auxjax._types import Array, Float, Int, Shaped
from auxjax.labelling._hierarchy import Hierarchy

_SMALLEST = 1e-20
"""The authors' constant, which keeps log p finite."""


def focal_loss(
    probabilities: Float[Array, "*B K"],
    targets: Shaped[Array, ...],
    gamma: float = 2.0,
) -> Float[Array, "*B"]:
    r"""−Σ_k y_k (1 − p_k)^γ log p_k, of each sample.

    Args:
      probabilities: p.
      targets: y: labels `[...]`, or distributions `[..., K]`.
      gamma: γ; 0 is cross-entropy.

    Returns:
      One loss per sample.

    Raises:
      ValueError: `gamma` is below 0, or targets and probabilities do not fit.

    Example:
      >>> import jax.numpy as jnp
      >>> float(focal_loss(jnp.array([0.5, 0.5]), jnp.array(1)))  # ¼ log 2
      0.1732867956161499

    References:
      Lin et al., *Focal Loss for Dense Object Detection*, arXiv 1708.02002, Eq. 4.
    """
    enough = probabilities > _SMALLEST
    log_p = jnp.log(jnp.where(enough, probabilities, _SMALLEST))
    return _focal(log_p, probabilities, targets, gamma)


def focal_loss_of_logits(
    logits: Float[Array, "*B K"],
    targets: Shaped[Array, ...],
    gamma: float = 2.0,
) -> Float[Array, "*B"]:
    """`focal_loss` of the softmax, exact also where a probability underflows.

    Args:
      logits: one number per class.
      targets: labels `[...]`, or distributions `[..., K]`.
      gamma: γ.

    Returns:
      One loss per sample.

    Raises:
      ValueError: as `focal_loss`.

    Example:
      >>> import jax.numpy as jnp
      >>> float(focal_loss_of_logits(jnp.array([100.0, -100.0]), jnp.array(1)))
      200.0
    """
    log_p = jax.nn.log_softmax(logits)
    return _focal(log_p, jnp.exp(log_p), targets, gamma)


def _focal(log_p: Array, p: Array, targets: Array, gamma: float) -> jax.Array:
    """−Σ y (1 − p)^γ log p."""
    if gamma < 0:
        raise ValueError(f"`gamma` should be at least 0. Found {gamma}.")
    is_label = jnp.issubdtype(targets.dtype, jnp.integer)
    wanted = p.shape[:-1] if is_label else p.shape
    if targets.shape != wanted:
        raise ValueError(
            f"`targets` should be labels of shape {p.shape[:-1]} or distributions of "
            f"shape {p.shape}. Found {targets.dtype} {targets.shape}."
        )
    # A whole power: x^2.0 has no second derivative at x = 0 to speak of.
    power = int(gamma) if float(gamma).is_integer() else gamma
    each = -((1 - p) ** power) * log_p
    if is_label:
        index = targets[..., None].astype(jnp.int32)
        return jnp.take_along_axis(each, index, axis=-1)[..., 0]
    return jnp.sum(targets.astype(p.dtype) * each, axis=-1)


def batch_entropy(probabilities: Float[Array, "B K"]) -> Float[Array, ""]:
    r"""H(p̄) = −Σ_k p̄_k log p̄_k of a batch's mean label distribution, in nats.

    **Higher is a more even use of the labels**: log K where all are used alike, 0
    where one is. A reward adds it; MAXL's loss subtracts it.

    Args:
      probabilities: a distribution per sample, or one-hot rows for labels.

    Returns:
      The entropy.

    Example:
      >>> import jax.numpy as jnp
      >>> both = jnp.eye(2)  # one sample of either label
      >>> round(float(batch_entropy(both)), 4), float(batch_entropy(both[:1]))
      (0.6931, 0.0)

    References:
      Goldfeder et al., Eq. 3, which is printed without its minus: with that sign a
      higher reward would mean that fewer labels are used.
    """
    return entropy(jnp.mean(probabilities, axis=0))


def entropy(p: Float[Array, " K"]) -> Float[Array, ""]:
    """−Σ p log p with 0 log 0 = 0, the slope there too."""
    used = p > 0
    return 0 - jnp.sum(jnp.where(used, p * jnp.log(jnp.where(used, p, 1)), 0))


def label_use(counts: Float[Array, " K"], hierarchy: Hierarchy) -> Float[Array, ""]:
    r"""How evenly the labels of a block are used: 1 if all alike, 0 if only one is.

        mean over the classes seen of H(label | class) / log ψ

    Args:
      counts: how often each label was given, or its probabilities' sum.
      hierarchy: the blocks.

    Returns:
      A number from 0 to 1. With ψ = 1 it is 1: there is nothing to choose.

    Example:
      >>> import jax.numpy as jnp
      >>> from auxjax.labelling import Hierarchy
      >>> float(label_use(jnp.array([5.0, 5.0, 9.0, 0.0]), Hierarchy(2, 2)))
      0.5
    """
    table = counts.reshape(hierarchy.classes, hierarchy.psi)
    total = jnp.sum(table, axis=1)
    seen = total > 0
    share = table / jnp.where(seen, total, 1)[:, None]
    if hierarchy.psi == 1:
        each = jnp.ones_like(total)
    else:
        each = jax.vmap(entropy)(share) / math.log(hierarchy.psi)
    kept = jnp.sum(jnp.where(seen, each, 0))
    return kept / jnp.maximum(jnp.sum(seen.astype(each.dtype)), 1)


def weight_scale(weight: Float[Array, "*B"], scale: float = 5.0) -> Float[Array, "*B"]:
    """2^(2Rw − R): a number w from 0 to 1 as a factor from 2^−R to 2^R.

    Args:
      weight: w, WA-MAXL's sigmoid say.
      scale: R.

    Returns:
      The factors.

    Example:
      >>> import jax.numpy as jnp
      >>> weight_scale(jnp.array([0.0, 0.5, 1.0])).tolist()
      [0.03125, 1.0, 32.0]

    References:
      Goldfeder et al., Eq. 8.
    """
    return jnp.exp2(2 * scale * weight - scale)


def weight_factor(
    weight_class: Int[Array, "*B"],
    *,
    num_classes: int = 21,
    formula: str = "paper",
) -> Float[Array, "*B"]:
    """The factor of a sample's auxiliary loss from the class that an agent chose.

    Class c is the number w = c / (num_classes − 1), 0, 0.05, …, 1.

    | formula | factor | from | to |
    |---|---|---|---|
    | `"paper"` | 2^(10w − 5) | 1/32 | 32 |
    | `"code"` | 2^(8w − 3) | 1/8 | 32 |

    Args:
      weight_class: c.
      num_classes: how many there are.
      formula: the paper's, or that of the authors' released code.

    Returns:
      The factors, in JAX's default float.

    Raises:
      ValueError: another formula, or fewer than two classes.

    Example:
      >>> import jax.numpy as jnp
      >>> weight_factor(jnp.array([0, 10, 20])).tolist()
      [0.03125, 1.0, 32.0]
      >>> weight_factor(jnp.array([0, 20]), formula="code").tolist()
      [0.125, 32.0]

    References:
      Goldfeder et al., Eq. 8.
    """
    check_formula(formula, num_classes)
    slope, start = _FORMULAS[formula]
    weight = weight_class.astype(jnp.result_type(float)) / (num_classes - 1)
    return jnp.exp2(slope * weight + start)


_FORMULAS = {"paper": (10.0, -5.0), "code": (8.0, -3.0)}


def check_formula(formula: str, num_classes: int) -> None:
    """A ValueError for an unknown formula, or classes that are no choice."""
    if formula not in _FORMULAS:
        raise ValueError(f'`formula` should be "paper" or "code". Found {formula!r}.')
    if num_classes < 2:
        raise ValueError(f"`num_classes` should be at least 2. Found {num_classes}.")
