"""Losses of dense prediction; what is not known about a pixel is left out.

A pixel's class is unknown where its label is negative or, as pictures of 8 bits have
it, 255; its depth, disparity, normal or noise where the channels of the target add up
to 0. Such a pixel touches neither a value nor a gradient, whatever was predicted there,
NaN included.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from auxjax._types import Array, Float, Shaped

__all__ = ["masked_l1", "normal_cosine", "segmentation_loss"]

UNKNOWN = 255
"""A label that says the class is unknown, where there are no more classes than that."""


def segmentation_loss(
    logits: Shaped[Array, "*pixels classes"], label: Shaped[Array, "*pixels"]
) -> Float[Array, ""]:
    """Cross-entropy over the pixels whose class is known; 0 if none is.

    L = −1/|V| Σ_{p ∈ V} log softmax(logits_p)[label_p]

    Args:
      logits: a score for each class.
      label: the true class, in any integers; to be ignored where it is negative, and
        where it is 255 (unless there is such a class: with 256 classes or more). Any
        other label beyond the classes makes the loss NaN.

    Returns:
      The mean in nats; float32, or float64 if that came in.

    Raises:
      ValueError: the pixels of the two differ; the labels are no integers.

    Example:
      >>> import jax.numpy as jnp
      >>> from auxjax.supervised import segmentation_loss
      >>> logits = jnp.array([[0.0, 0.0], [jnp.nan, 9.0]])
      >>> segmentation_loss(logits, jnp.array([1, -1]))  # log 2
      Array(0.6931472, dtype=float32)
    """
    check_pixels("logits", logits.shape[:-1], label.shape)
    index, valid = known_class(label, logits.shape[-1])
    logits = jnp.where(valid[..., None], _floats(logits), 0)
    scores = jax.nn.log_softmax(logits)
    chosen = jnp.take_along_axis(scores, index[..., None], axis=-1, mode="fill")[..., 0]
    return _mean(-chosen, valid)


def masked_l1(
    prediction: Shaped[Array, "*pixels channels"],
    target: Shaped[Array, "*pixels channels"],
    *,
    channels: str = "mean",
) -> Float[Array, ""]:
    """Mean absolute error over the valid pixels; 0 if there is none.

    L = 1/(C |V|) Σ_{p ∈ V} ‖ŷ_p − y_p‖₁,  V: the pixels with Σ_c y_pc ≠ 0

    For depth, disparity, the noise task, and normals (on what the model gives, which
    should end in a division by the norm).

    Args:
      prediction: ŷ.
      target: y.
      channels: `"mean"`, or `"sum"` as the authors' code, without 1/C: it gives normals
        three times the weight, and what has one channel the same.

    Returns:
      The mean over the pixels; float32, or float64 if an input has it.

    Raises:
      ValueError: the shapes differ; `channels` is neither.

    Example:
      >>> import jax.numpy as jnp
      >>> from auxjax.supervised import masked_l1
      >>> masked_l1(jnp.array([[3.0], [7.0]]), jnp.array([[1.0], [0.0]]))
      Array(2., dtype=float32)

    Paper and code:
      | | paper | released code | here |
      |---|---|---|---|
      | channels | not said | summed, C = 3 for normals | `channels="mean"` |
      | unknown disparity | not said | −1 | 0 |

    References:
      Liu et al., *Auto-λ*, arXiv 2202.03091, §5.1.
    """
    if channels not in ("mean", "sum"):
        raise ValueError(f'`channels` should be "mean" or "sum". Found {channels!r}.')
    prediction, target, valid = known(prediction, target)
    reduce = jnp.mean if channels == "mean" else jnp.sum
    return _mean(reduce(jnp.abs(prediction - target), axis=-1), valid)


def normal_cosine(
    prediction: Shaped[Array, "*pixels 3"], target: Shaped[Array, "*pixels 3"]
) -> Float[Array, ""]:
    """1 − cos of the angle between normals, over the valid pixels; 0 if there is none.

    L = 1/|V| Σ_{p ∈ V} (1 − ⟨ŷ_p, y_p⟩ / ‖ŷ_p‖‖y_p‖)

    MTAN's loss for normals; Auto-λ takes `masked_l1`.

    Args:
      prediction: ŷ, of any length; a zero vector counts as orthogonal.
      target: y.

    Returns:
      A number in [0, 2]; float32, or float64 if an input has it.

    Raises:
      ValueError: the shapes differ.

    Example:
      >>> import jax.numpy as jnp
      >>> from auxjax.supervised import normal_cosine
      >>> normal_cosine(jnp.array([[0.0, 2.0, 0.0]]), jnp.array([[0.0, 0.0, 1.0]]))
      Array(1., dtype=float32)

    References:
      Liu, Johns, Davison: End-to-End Multi-Task Learning with Attention (2019),
      arXiv 1803.10704, Eq. 6.
    """
    prediction, target, valid = known(prediction, target)
    cosine = jnp.sum(unit(prediction) * unit(target), axis=-1)
    return _mean(1 - cosine, valid)


def known(prediction, target):
    """Both as floats of one dtype, zero where the target is unknown; and where not."""
    if prediction.shape != target.shape:
        raise ValueError(
            f"`prediction` should have the target's shape, {target.shape}. "
            f"Found {prediction.shape}."
        )
    prediction, target = _floats(prediction), _floats(target)
    if jnp.float64 in (prediction.dtype, target.dtype):
        prediction, target = (x.astype(jnp.float64) for x in (prediction, target))
    valid = jnp.sum(target, axis=-1) != 0
    prediction, target = (
        jnp.where(valid[..., None], x, 0) for x in (prediction, target)
    )
    return prediction, target, valid


def known_class(label, classes):
    """The class of each pixel as int32, 0 where it is unknown; and where it is known.

    What is known and beyond the classes becomes the number of classes: cast straight
    away, it could come back as one of them.
    """
    if not jnp.issubdtype(label.dtype, jnp.integer):
        raise ValueError(f"`label` should hold integers. Found {label.dtype}.")
    if jnp.iinfo(label.dtype).bits < 32:  # too small for the number of classes
        label = label.astype(jnp.int32)
    valid = label >= 0
    if classes <= UNKNOWN:
        valid &= label != UNKNOWN
    index = jnp.where(valid, jnp.minimum(label, classes), 0)
    return index.astype(jnp.int32), valid


def _mean(values, valid):
    pixels = jnp.maximum(jnp.sum(valid), 1).astype(values.dtype)
    return jnp.sum(jnp.where(valid, values, 0)) / pixels


def _floats(x):
    return x if x.dtype == jnp.float64 else x.astype(jnp.float32)


def unit(vectors):
    """Vectors of length 1; of length 0 where they had none, with a finite gradient."""
    square = jnp.sum(vectors * vectors, axis=-1, keepdims=True)
    return vectors * jax.lax.rsqrt(jnp.where(square > 0, square, 1))


def check_pixels(name, found, label):
    """A ValueError where predictions and labels are of different pixels."""
    if found != label:
        raise ValueError(
            f"`{name}` should have the label's pixels, {label}. Found {found}."
        )
