"""The driver of every long run: chunks, metrics, checkpoints, a clean stop."""

from __future__ import annotations

import math
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from auxjax._types import PyTree
from auxjax.run._checkpoint import last_checkpoint, read_note, restore, save
from auxjax.run._errors import NonFiniteLoss, RunError
from auxjax.run._folder import RunFolder
from auxjax.run._leaves import without_weak_types
from auxjax.run._metrics import MetricsWriter
from auxjax.run._progress import Progress

_STOPPED = 130  # what a shell reports for a program ended by Ctrl-C


def run_chunks(
    *,
    state: PyTree,
    advance: Callable[[PyTree], tuple[PyTree, PyTree]],
    num_chunks: int,
    folder: RunFolder,
    step_of: Callable[[PyTree], int],
    report: Callable[[PyTree, int], tuple[Sequence[Mapping[str, Any]], str]],
    checkpoint_every: int = 1,
    check: Callable[[PyTree], tuple[int, str, float] | None] | None = None,
    description: str = "training",
    unit: str = "steps",
    quiet: bool = False,
) -> PyTree:
    """Advances a state by chunks, from the folder's last checkpoint if it has one.

    A resumed run ends with the state and the metrics of one that never stopped, bit
    for bit, as long as `advance` depends on its argument alone: keep the PRNG key and
    the counters in the state.

    Args:
      state: the state to start from; all that `advance` needs, keys included.
      advance: `state -> (state, metrics)`, a jitted scan of many updates. It may donate
        its argument.
      num_chunks: how many chunks there are in all, those already done included.
      folder: the run's folder, from `open_run`.
      step_of: the step that a state has come to; it grows with every chunk.
      report: `(metrics on the host, chunk index) -> (rows, text)`: the rows go to
        `metrics.jsonl`, each with an int "step" that is at most `step_of` the state
        after the chunk; the text goes beside the progress bar.
      checkpoint_every: chunks between two checkpoints; one is always saved at the end.
      check: `metrics -> None`, or `(step, task, value)` for a loss that is not finite;
        see `first_non_finite`. A state that fails is not saved.
      description: what runs, for the progress bar.
      unit: of the steps, for the progress bar.
      quiet: whether to show no progress.

    Returns:
      The state after the last chunk.

    Raises:
      ValueError: a count is below 1, or the checkpoint is beyond `num_chunks`.
      NonFiniteLoss: `check` found one.
      RunError: the disk is full, or the checkpoint is of another state.
      SystemExit: Ctrl-C or SIGTERM came. The chunk was finished and saved; a second
        Ctrl-C stops at once, at the checkpoint before.
    """
    for name, value in (("num_chunks", num_chunks), ("every", checkpoint_every)):
        if value < 1:
            name = "checkpoint_every" if name == "every" else name
            raise ValueError(f"`{name}` should be at least 1. Found {value}.")
    return _Run(
        advance, num_chunks, folder, step_of, report, checkpoint_every, check
    ).go(state, description, unit, quiet)
