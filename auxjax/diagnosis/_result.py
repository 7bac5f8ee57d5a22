"""What is known of the tasks after some batches, and what to do about it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from auxjax.diagnosis import _statistics, _verdicts


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Diagnosis:
    """Whether the tasks conflict: numbers of n batches, and a verdict per task.

    Made by `diagnose`, or by `diagnosis_of` from a training's state. Printed, it is a
    table. All arrays are NumPy's, in float64; NaN stands where too little was seen.

    Attributes:
      names: the tasks', the main task's first.
      inner_products: `[n, T]`, ⟨∇L_main, ∇Lᵢ⟩ of each batch; NaN where it did not
        count, as the task or the main one was absent or not finite.
      pair_cosines: `[m, T, T]`, cos(∇Lᵢ, ∇Lⱼ) of each batch where they were measured;
        NaN where one did not count, 0 where a gradient was 0.
      pair_norms: `[m, T]`, ‖∇Lᵢ‖ there; NaN likewise.
      pair_batches: `[m]`, which batches these are.
      nonfinite: `[T]`, how often a task was there and not finite.
      across_batches: whether the main task's gradient was that of another batch.
    """

    names: tuple[str, ...]
    inner_products: np.ndarray
    pair_cosines: np.ndarray
    pair_norms: np.ndarray
    pair_batches: np.ndarray
    nonfinite: np.ndarray
    across_batches: bool = False

    @property
    def counts(self) -> np.ndarray:
        """`[T]`, how many inner products of a task there are."""
        return _seen(self.inner_products).sum(0)

    @property
    def mean(self) -> np.ndarray:
        """`[T]`, the mean inner product with the main task's gradient."""
        return _over(_statistics.mean_of, self.inner_products)

    @property
    def std(self) -> np.ndarray:
        """`[T]`, its standard deviation over the batches."""
        return _over(_statistics.std_of, self.inner_products)

    @property
    def signal_to_noise(self) -> np.ndarray:
        """`[T]`, mean over standard deviation: how well *one* batch knows the sign."""
        return _over(_statistics.signal_to_noise, self.inner_products)

    @property
    def t_values(self) -> np.ndarray:
        """`[T]`, √n · mean / standard deviation: how well *all* batches know it."""
        return self.signal_to_noise * np.sqrt(self.counts)

    @property
    def share_positive(self) -> np.ndarray:
        """`[T]`, how often the inner product was above 0: an open gate's share."""
        seen = _seen(self.inner_products)
        return _statistics.share_of(np, self.inner_products > 0, seen)

    @property
    def effect(self) -> np.ndarray:
        """`[T]`, a helper's mean inner product over the main task's own.

        What adding the helper with weight 1 does to the main loss's fall, to first
        order of SGD: +0.5, half as fast again; −1, none left; below, the loss rises.
        """
        own = self.mean[0]
        return self.mean / (own if own > 0 else np.nan)

    @property
    def cosines(self) -> np.ndarray:
        """`[T, T]`, the mean cosine of each pair's gradients."""
        return _over(_statistics.mean_of, self.pair_cosines)

    @property
    def conflict_rate(self) -> np.ndarray:
        """`[T, T]`, how often a pair's cosine was below 0."""
        seen = _seen(self.pair_cosines)
        return _statistics.share_of(np, self.pair_cosines < 0, seen)

    @property
    def norms(self) -> np.ndarray:
        """`[T]`, the mean norm of each gradient."""
        return _over(_statistics.mean_of, self.pair_norms)

    def measurable(self, t_value: float = 2.0) -> np.ndarray:
        """`[T]` bools: whether the sign of the mean is known, |t| above `t_value`."""
        return np.abs(np.nan_to_num(self.t_values)) > t_value

    def verdicts(
        self,
        *,
        t_value: float = 2.0,
        min_batches: int = 8,
        slows: float = 0.1,
        steady: float = 0.75,
        ratio: float = 3.0,
    ) -> tuple[str, ...]:
        r"""What to do with each task, in a word or two.

        The first that holds, t and effect being the attributes of these names:

        | verdict | where |
        |---|---|
        | `main task` | it is the first |
        | `too few batches` | it counts in fewer than `min_batches` |
        | `nothing shared` | every inner product was 0 |
        | `unclear` | \|t\| ≤ `t_value`: the sign is not known |
        | `train apart` | t < 0, effect ≤ −1: added up, the two raise the main loss |
        | `project` | t < 0, effect ≤ −`slows`: added up, it slows the main task down |
        | `reweight` | one batch does not tell that sign, or the norms differ |
        | `sum` | else: it helps, or harms too little to matter |

        They speak of the main task's loss on *these* batches, one small step of SGD
        ahead. Whether a helper teaches something that the main task's own labels do
        not is not in them, and with twenty helpers one is beyond |t| = 2 by luck: "Do
        my tasks conflict?" in the documentation says what to check.

        Args:
          t_value: how sure.
          min_batches: below this many no verdict is given.
          slows: from which effect on a conflict matters.
          steady: a single batch tells the sign where this share of them has it.
          ratio: norms differ where one is above so many times the main task's, or below
            this part of it. Norms that were not measured do not.

        Returns:
          T words.
        """
        return _verdicts.verdicts(self, t_value, min_batches, slows, steady, ratio)

    def __repr__(self) -> str:
        return f"Diagnosis(names={self.names}, batches={len(self.inner_products)})"

    def __str__(self) -> str:
        return _verdicts.table(self)


def _seen(values: np.ndarray) -> np.ndarray:
    return ~np.isnan(values)


def _over(statistic: Any, values: np.ndarray) -> np.ndarray:
    return statistic(np, np.nan_to_num(values), _seen(values))
