"""Metrics of dense prediction, of a whole set rather than means over its batches.

Each is a tuple of sums over pixels. Begin with `zeros`, `add` each batch (inside a
`scan` too), ask for `metrics` at the end. Pixels whose truth is unknown are left out,
as by the losses: a label that is negative or 255, a target whose channels add up to 0.
"""

from __future__ import annotations

from typing import NamedTuple, SupportsIndex

import jax.numpy as jnp

from auxjax._numbers import integer
from auxjax._types import Array, Bool, Float, Int, Shaped
from auxjax.supervised._dense import check_pixels, known, known_class, unit

__all__ = ["DepthSums", "NormalSums", "SegmentationSums"]

ANGLES = (11.25, 22.5, 30.0)
_BINS_A_DEGREE = 10


class SegmentationSums(NamedTuple):
    """A confusion matrix over a whole set.

    Attributes:
      confusion: `[classes, classes]` pixels; rows are the truth, columns what was
        predicted.

    Example:
      >>> import jax.numpy as jnp
      >>> from auxjax.supervised import SegmentationSums
      >>> sums = SegmentationSums.zeros(3)
      >>> scores = jnp.eye(3)[jnp.array([0, 1, 1, 0])]  # class 2: neither true nor said
      >>> sums = sums.add(scores, jnp.array([0, 1, 0, -1]))
      >>> {name: round(float(x), 4) for name, x in sums.metrics().items()}
      {'miou': 0.5, 'pixel_accuracy': 0.6667}
    """

    confusion: Int[Array, "classes classes"]

    @classmethod
    def zeros(cls, num_classes: SupportsIndex) -> SegmentationSums:
        """No pixel yet."""
        num_classes = integer("num_classes", num_classes, 1)
        return cls(jnp.zeros((num_classes, num_classes), int))

    def add(
        self, logits: Shaped[Array, "*pixels classes"], label: Shaped[Array, "*pixels"]
    ) -> SegmentationSums:
        """A further batch: scores, whose largest is the prediction, and the truth.

        A label is of any integers. One that is negative, 255 (unless there is such a
        class), or beyond the classes is left out.
        """
        check_pixels("logits", logits.shape[:-1], label.shape)
        classes = self.confusion.shape[0]
        if logits.shape[-1] != classes:
            raise ValueError(
                f"`logits` should have {classes} classes. Found {logits.shape[-1]}."
            )
        truth, valid = known_class(label, classes)
        predicted = jnp.argmax(logits, axis=-1).astype(truth.dtype)
        # Beyond the matrix is nowhere: an ignored pixel falls out.
        cell = jnp.where(valid, truth * classes + predicted, classes * classes)
        flat = self.confusion.reshape(-1).at[cell.reshape(-1)].add(1, mode="drop")
        return SegmentationSums(flat.reshape(classes, classes))

    def iou(self) -> tuple[Float[Array, " classes"], Bool[Array, " classes"]]:
        """Intersection over union of each class (0 if absent), and which are present.

        A class is absent if no pixel is of it and none was taken for it.
        """
        hits = jnp.diagonal(self.confusion)
        union = jnp.sum(self.confusion, axis=0) + jnp.sum(self.confusion, axis=1) - hits
        present = union > 0
        return _share(hits, jnp.maximum(union, 1)), present

    def metrics(self, *, absent: str = "skip") -> dict[str, Float[Array, ""]]:
        """`miou` and `pixel_accuracy`, in [0, 1]; NaN if no pixel was valid.

        Args:
          absent: `"skip"` leaves a class that is absent (see `iou`) out of the mean;
            `"zero"` counts it as 0. A class that was predicted somewhere and is true
            nowhere is 0 in any case.

        Raises:
          ValueError: `absent` is neither.
        """
        if absent not in ("skip", "zero"):
            raise ValueError(f'`absent` should be "skip" or "zero". Found {absent!r}.')
        iou, present = self.iou()
        counted = jnp.sum(present) if absent == "skip" else jnp.array(present.size)
        pixels = jnp.sum(self.confusion)
        counted = jnp.where(pixels > 0, counted, 0)
        return {
            "miou": jnp.sum(iou) / counted.astype(iou.dtype),
            "pixel_accuracy": _share(jnp.trace(self.confusion), pixels),
        }


class DepthSums(NamedTuple):
    """Errors of depth or disparity, summed over the valid pixels of a set.

    Attributes:
      absolute: Σ |ŷ − y|.
      relative: Σ |ŷ − y| / |y|.
      pixels: how many.

    Example:
      >>> import jax.numpy as jnp
      >>> from auxjax.supervised import DepthSums
      >>> truth = jnp.array([[2.0], [4.0], [0.0]])
      >>> sums = DepthSums.zeros().add(jnp.array([[3.0], [4.0], [9.0]]), truth)
      >>> {name: float(x) for name, x in sums.metrics().items()}
      {'absolute_error': 0.5, 'relative_error': 0.25}
    """

    absolute: Float[Array, ""]
    relative: Float[Array, ""]
    pixels: Int[Array, ""]

    @classmethod
    def zeros(cls) -> DepthSums:
        """No pixel yet."""
        return cls(jnp.zeros(()), jnp.zeros(()), jnp.zeros((), int))

    def add(
        self, prediction: Shaped[Array, "*pixels 1"], target: Shaped[Array, "*pixels 1"]
    ) -> DepthSums:
        """A further batch: what was predicted and the truth, 0 where unknown."""
        prediction, target, valid = known(prediction, target)
        error = jnp.abs(prediction - target)[..., 0]
        relative = error / jnp.where(valid, jnp.abs(target[..., 0]), 1)
        return DepthSums(
            self.absolute + jnp.sum(error).astype(self.absolute.dtype),
            self.relative + jnp.sum(relative).astype(self.relative.dtype),
            self.pixels + jnp.sum(valid),
        )

    def metrics(self) -> dict[str, Float[Array, ""]]:
        """`absolute_error` in the target's unit, `relative_error`; NaN if no pixel."""
        pixels = self.pixels.astype(self.absolute.dtype)
        return {
            "absolute_error": self.absolute / pixels,
            "relative_error": self.relative / pixels,
        }


class NormalSums(NamedTuple):
    """Angles between predicted and true normals, over the valid pixels of a set.

    The median of a set is no sum: it is read off a histogram whose bins are a tenth of
    a degree wide, linearly within a bin.

    Attributes:
      angle: the sum of the angles, in degrees.
      within: `[3]` pixels with an angle below 11.25°, 22.5° and 30°.
      histogram: `[1800]` pixels by angle, from 0° to 180°.
      pixels: how many.

    Example:
      >>> import jax.numpy as jnp
      >>> from auxjax.supervised import NormalSums
      >>> truth = jnp.array([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
      >>> sums = NormalSums.zeros().add(jnp.eye(3)[1:], truth)  # 90° and 0°
      >>> {name: round(float(x)) for name, x in sums.metrics().items()}
      {'mean_angle': 45, 'median_angle': 0, '<11.25': 50, '<22.5': 50, '<30': 50}
    """

    angle: Float[Array, ""]
    within: Int[Array, " 3"]
    histogram: Int[Array, " bins"]
    pixels: Int[Array, ""]

    @classmethod
    def zeros(cls) -> NormalSums:
        """No pixel yet."""
        return cls(
            jnp.zeros(()),
            jnp.zeros(len(ANGLES), int),
            jnp.zeros(180 * _BINS_A_DEGREE, int),
            jnp.zeros((), int),
        )

    def add(
        self, prediction: Shaped[Array, "*pixels 3"], target: Shaped[Array, "*pixels 3"]
    ) -> NormalSums:
        """A further batch: vectors of any length, and the truth, 0 where unknown."""
        prediction, target, valid = known(prediction, target)
        one, two = unit(prediction), unit(target)
        # Kahan's formula: exact near 0° and 180° too, where the arc cosine is not.
        angle = jnp.rad2deg(2 * jnp.arctan2(_norm(one - two), _norm(one + two)))
        angle = jnp.where(valid, angle, 0)
        limits = jnp.asarray(ANGLES, angle.dtype)
        below = angle.reshape(-1, 1) < limits[None]
        bins = self.histogram.shape[0]
        cell = jnp.minimum((angle * _BINS_A_DEGREE).astype(int), bins - 1)
        cell = jnp.where(valid, cell, bins).reshape(-1)
        return NormalSums(
            self.angle + jnp.sum(angle).astype(self.angle.dtype),
            self.within + jnp.sum(below & valid.reshape(-1, 1), axis=0),
            self.histogram.at[cell].add(1, mode="drop"),
            self.pixels + jnp.sum(valid),
        )

    def metrics(self) -> dict[str, Float[Array, ""]]:
        """`mean_angle`, `median_angle` in degrees, `<11.25` … in %; NaN if no pixel."""
        dtype = self.angle.dtype
        shares = 100 * self.within.astype(dtype) / self.pixels.astype(dtype)
        return {
            "mean_angle": self.angle / self.pixels.astype(dtype),
            "median_angle": self._median(),
            **{
                f"<{limit:g}": share
                for limit, share in zip(ANGLES, shares, strict=True)
            },
        }

    def _median(self):
        """The lower median, for an even number of pixels."""
        dtype = self.angle.dtype
        rank = (self.pixels + 1) // 2  # counted from 1
        below = jnp.cumsum(self.histogram)
        cell = jnp.searchsorted(below, rank)
        count = self.histogram[cell]
        inside = (rank - (below[cell] - count)).astype(dtype) - 0.5
        median = (cell.astype(dtype) + inside / count.astype(dtype)) / _BINS_A_DEGREE
        return jnp.where(self.pixels > 0, median, jnp.nan)


def _share(part, whole):
    dtype = jnp.zeros(()).dtype
    return part.astype(dtype) / whole.astype(dtype)


def _norm(vectors):
    return jnp.sqrt(jnp.sum(vectors * vectors, axis=-1))
