"""One number for how well several tasks do together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from auxjax._types import Array, Float

__all__ = ["delta_mtl"]


def delta_mtl(
    metrics: Float[Array | np.ndarray, "*runs tasks"] | Sequence[float],
    baselines: Float[Array | np.ndarray, "*seeds tasks"] | Sequence[float],
    higher_is_better: Sequence[bool],
) -> Float[np.ndarray, "*runs"]:
    """How much better than single-task training, averaged over the tasks, in %.

    Δ = 100/K Σᵢ (−1)^{lᵢ} (Mᵢ − Bᵢ)/Bᵢ,  lᵢ = 1 where a lower metric is better

    B is one number per task: the mean of the single-task networks over their seeds.
    So every run is held against the same B, and not against the single-task networks
    of its own seed; the spread of Δ over runs is that of the runs alone.

    Args:
      metrics: M, one number per task; in front, as many runs as you like.
      baselines: the same metrics where each task was learnt alone. Axes in front of
        the tasks' are seeds, whose mean is taken.
      higher_is_better: one bool per task.

    Returns:
      Δ for each run, in float64; positive is better than single-task. NaN where a
      metric of the run is NaN, and everywhere where a baseline is.

    Raises:
      ValueError: the numbers of tasks differ, or a baseline is 0.

    Example:
      >>> from auxjax.supervised import delta_mtl
      >>> single = [43.37, 52.24, 22.40]  # NYUv2: mIoU, depth error, angle
      >>> f"{delta_mtl([47.17, 40.97, 23.68], single, [True, False, False]):.2f}"
      '8.21'

    References:
      Liu et al., *Auto-λ*, arXiv 2202.03091, Eq. 8; Maninis, Radosavovic, Kokkinos:
      Attentive Single-Tasking of Multiple Tasks (2019), arXiv 1904.08918.
    """
    measured = np.asarray(metrics, np.float64)
    alone = np.asarray(baselines, np.float64)
    tasks = (len(higher_is_better),)
    if measured.shape[-1:] != tasks or alone.shape[-1:] != tasks:
        raise ValueError(
            f"`metrics` and `baselines` should have {tasks[0]} tasks, as "
            f"`higher_is_better`. Found shapes {measured.shape} and {alone.shape}."
        )
    alone = np.mean(alone.reshape(-1, *tasks), axis=0)
    if np.any(alone <= 0):
        raise ValueError(
            f"`baselines` should be above 0, for changes are relative. Found {alone}."
        )
    sign = np.where(higher_is_better, 1, -1)
    change = sign * (measured - alone) / alone
    return np.asarray(100 * np.mean(change, axis=-1))  # Eq. 8
