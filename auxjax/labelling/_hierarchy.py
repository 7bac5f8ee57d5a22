"""Which auxiliary labels a sample may have: those of its main class's block."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from auxjax._numbers import integer
from auxjax._types import Array, ArrayLike, Bool, Float, Int, Shaped


@dataclasses.dataclass(frozen=True)
class Hierarchy:
    """C main classes with ψ auxiliary labels each, K = ψC labels in all.

    Class c owns the labels ψc, ψc + 1, …, ψc + ψ − 1.

    Attributes:
      classes: C.
      psi: ψ.
      num_labels: K. Where it is said it has to be ψC; 0: it is.

    Raises:
      ValueError: C or ψ is below 1, or K is not ψC.

    Example:
      >>> import jax.numpy as jnp
      >>> blocks = Hierarchy(classes=2, psi=3)
      >>> blocks.num_labels
      6
      >>> blocks.mask(jnp.array([1])).astype(int).tolist()
      [[0, 0, 0, 1, 1, 1]]

    References:
      Liu et al., *Self-Supervised Generalisation with Meta Auxiliary Learning*, arXiv
      1901.08933; Goldfeder et al., *Generating Auxiliary Tasks with Reinforcement
      Learning*, Eq. 5, 6.
    """

    classes: int
    psi: int
    num_labels: int = 0

    def __post_init__(self):
        """Refuses a hierarchy without classes, or classes without labels."""
        for name in ("classes", "psi"):
            object.__setattr__(self, name, integer(name, getattr(self, name), 1))
        product = self.psi * self.classes
        if self.num_labels not in (0, product):
            raise ValueError(
                f"`num_labels` should be psi × classes = {self.psi} × {self.classes} = "
                f"{product}. Found {self.num_labels}."
            )
        object.__setattr__(self, "num_labels", product)

    def mask(self, labels: Int[Array, "*B"]) -> Bool[Array, "*B K"]:
        """The labels that samples of these main classes may have (Eq. 6)."""
        owner = jnp.arange(self.num_labels, dtype=jnp.int32) // self.psi
        owner = owner.reshape((1,) * labels.ndim + (-1,))
        return labels[..., None].astype(jnp.int32) == owner

    def inside(
        self, action: Int[Array, "*B"], labels: Int[Array, "*B"]
    ) -> Int[Array, "*B"]:
        """The label of the class's block that a choice stands for: ψy + (k mod ψ).

        A label of the block stands for itself. So an agent may choose among all K
        labels, or, since it cannot know better, among ψ.
        """
        choice = jnp.mod(action.astype(jnp.int32), self.psi)
        return labels.astype(jnp.int32) * self.psi + choice

    def block(
        self, scores: Shaped[Array, "*B K"], labels: Int[Array, "*B"]
    ) -> Shaped[Array, "*B psi"]:
        """The scores of the class's own labels: `[..., K]` becomes `[..., ψ]`."""
        offset = jnp.arange(self.psi, dtype=jnp.int32)
        offset = offset.reshape((1,) * labels.ndim + (-1,))
        own = labels[..., None].astype(jnp.int32) * self.psi + offset
        return jnp.take_along_axis(scores, own, axis=-1)

    def spread(
        self, chances: Float[Array, "*B psi"], labels: Int[Array, "*B"]
    ) -> Float[Array, "*B K"]:
        """`block`, turned round: `[..., ψ]` becomes `[..., K]`, 0 outside the block."""
        everywhere = jnp.concatenate([chances] * self.classes, axis=-1)
        return jnp.where(self.mask(labels), everywhere, 0)


def masked_softmax(
    logits: Float[Array, "*B K"], labels: Int[Array, "*B"], hierarchy: Hierarchy
) -> Float[Array, "*B K"]:
    r"""The softmax over the labels of each sample's own block; 0 elsewhere.

        p_k = exp(z_k) m_k / Σ_j exp(z_j) m_j

    Args:
      logits: z.
      labels: the main labels y.
      hierarchy: which labels belong to which class.

    Returns:
      The probabilities, `[..., K]`; derivatives of any order are finite.

    Raises:
      ValueError: the logits are not K numbers per sample.

    Example:
      >>> import jax.numpy as jnp
      >>> masked_softmax(jnp.zeros((1, 4)), jnp.array([1]), Hierarchy(2, 2)).tolist()
      [[0.0, 0.0, 0.5, 0.5]]

    References:
      Goldfeder et al., Eq. 5, 6.
    """
    if logits.shape[-1] != hierarchy.num_labels:
        raise ValueError(
            f"`logits` should be {hierarchy.num_labels} numbers per sample, "
            f"one per label. Found {logits.shape[-1]}."
        )
    # A finite number, unlike −∞, has no 0 · ∞ in the second derivative either.
    lowest = jnp.asarray(jnp.finfo(logits.dtype).min, logits.dtype)
    return jax.nn.softmax(jnp.where(hierarchy.mask(labels), logits, lowest))


def human_labels(
    hierarchy: Hierarchy, coarse: ArrayLike, fine: ArrayLike
) -> np.ndarray:
    """Fine labels that people made, numbered inside their superclass's block.

    The superclass's fine labels, sorted, become ψc, ψc + 1, …: CIFAR-100's 100 classes
    in blocks of five. A superclass may use fewer labels than its block has.

    Args:
      hierarchy: the blocks.
      coarse: the superclasses `[n]`, the main labels.
      fine: the fine labels `[n]`, any integers.

    Returns:
      int32 `[n]`, on the host.

    Raises:
      ValueError: a superclass has no sample, a label is out of range, a fine label
        belongs to two superclasses, or one has more fine labels than ψ.

    Example:
      >>> import numpy as np
      >>> digits = np.array([0, 1, 2, 3, 8, 9])
      >>> human_labels(Hierarchy(2, 3), digits % 2, digits).tolist()
      [0, 3, 1, 4, 2, 5]
    """
    main, finer = check_labels(hierarchy, coarse), np.asarray(fine)
    if finer.shape != main.shape or not np.issubdtype(finer.dtype, np.integer):
        raise ValueError(
            f"`fine` should be integers of shape {main.shape}. Found {finer.dtype} "
            f"{finer.shape}."
        )
    own = [np.unique(finer[main == c]) for c in range(hierarchy.classes)]
    for c, values in enumerate(own):
        if len(values) > hierarchy.psi:
            raise ValueError(
                f"Superclass {c} should have at most psi = {hierarchy.psi} fine "
                f"labels. Found {len(values)}: {values.tolist()}."
            )
        for other in range(c):
            if shared := np.intersect1d(values, own[other]).tolist():
                raise ValueError(
                    "Each fine label should belong to one superclass. "
                    f"Found {shared} in superclasses {other} and {c}."
                )
    out = np.zeros(main.shape, np.int32)
    for c, values in enumerate(own):
        here = main == c
        out[here] = c * hierarchy.psi + np.searchsorted(values, finer[here])
    return out


def check_labels(hierarchy: Hierarchy, labels: ArrayLike) -> np.ndarray:
    """Refuses main labels that are no class, and classes that nobody has.

    Args:
      hierarchy: says how many classes there are.
      labels: `[n]`, values at hand (not traced).

    Returns:
      The labels as a NumPy array.

    Raises:
      ValueError: they are no integers, out of range, or leave a class empty.

    Example:
      >>> import numpy as np
      >>> check_labels(Hierarchy(3, 2), np.array([0, 2, 0]))
      Traceback (most recent call last):
      ...
      ValueError: `labels` should hold every class of 0 … 2. Found no sample of [1].
    """
    values = np.asarray(labels)
    if values.ndim != 1 or not np.issubdtype(values.dtype, np.integer):
        raise ValueError(
            "`labels` should be integers, one per sample. "
            f"Found {values.dtype} {values.shape}."
        )
    check_range("labels", values, hierarchy.classes)
    counts = np.bincount(values, minlength=hierarchy.classes)
    if not counts.all():
        empty = np.flatnonzero(counts == 0).tolist()
        raise ValueError(
            f"`labels` should hold every class of 0 … {hierarchy.classes - 1}. "
            f"Found no sample of {empty}."
        )
    return values


def check_range(name: str, values: np.ndarray, count: int) -> None:
    """A ValueError where a label is not one of 0 … count − 1."""
    if values.size and not (values.min() >= 0 and values.max() < count):
        raise ValueError(
            f"`{name}` should be from 0 to {count - 1}. "
            f"Found {values.min()} to {values.max()}."
        )
