"""The driver of every long run: chunks, metrics, checkpoints, a clean stop."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, SupportsIndex

import jax
import numpy as np

from auxjax._numbers import integer
from auxjax._types import PyTree
from auxjax.run._checkpoint import last_checkpoint, read_note, restore, save
from auxjax.run._errors import (
    STOPPED,
    NonFiniteLoss,
    quiet_interrupts,
    was_interrupted,
)
from auxjax.run._folder import RunFolder
from auxjax.run._leaves import without_weak_types
from auxjax.run._metrics import MetricsWriter, mend_metrics
from auxjax.run._progress import Progress


def run_chunks(
    *,
    state: PyTree,
    advance: Callable[[PyTree], tuple[PyTree, PyTree]],
    num_chunks: SupportsIndex,
    folder: RunFolder,
    step_of: Callable[[PyTree], Any],
    report: Callable[[PyTree, int], tuple[Sequence[Mapping[str, Any]], str]],
    checkpoint_every: SupportsIndex = 1,
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
      step_of: the step (an int) that a state has come to; it grows with every chunk.
      report: `(metrics on the host, chunk index) -> (rows, text)`. The rows go to
        `metrics.jsonl`, each with an int "step" above that of the state before the
        chunk and at most that of the state after it; the text goes beside the bar.
      checkpoint_every: chunks between two checkpoints; one is always saved at the end.
      check: `metrics -> None`, or `(step, task, value)` for a loss that is not finite;
        see `first_non_finite`. The rows are written, the state is not saved.
      description: what runs, for the progress bar.
      unit: of the steps, for the progress bar.
      quiet: whether to show no progress.

    Returns:
      The state after the last chunk.

    Raises:
      ValueError: a count is below 1, a row's step is not in its chunk, or the folder
        has come further than `num_chunks`.
      NonFiniteLoss: `check` found one.
      RunError: the disk is full, or the checkpoint is of another state.
      SystemExit: with code 130 after Ctrl-C or SIGTERM, in the last chunk too: a script
        may have other runs to make. The chunk was finished and saved; a second Ctrl-C
        stops at once, at the checkpoint before.

    Example:
      >>> import dataclasses, tempfile
      >>> import jax.numpy as jnp
      >>> from auxjax.run import open_run
      >>> @dataclasses.dataclass(frozen=True)
      ... class Config:
      ...     seed: int = 0
      >>> def advance(state):  # ten steps; in earnest a jitted scan
      ...     return state + 10, {"loss": 1 / (state + 10)}
      >>> def report(metrics, chunk):
      ...     row = {"step": 10 * (chunk + 1), "loss": metrics["loss"]}
      ...     return [row], f"loss={row['loss']:.2f}"
      >>> with tempfile.TemporaryDirectory() as out:
      ...     folder = open_run(f"{out}/run", Config())
      ...     end = run_chunks(state=jnp.zeros(()), advance=advance, num_chunks=3,
      ...                      folder=folder, step_of=int, report=report, quiet=True)
      ...     print(float(end), len(folder.metrics.read_text().splitlines()))
      30.0 3
    """
    num_chunks = integer("num_chunks", num_chunks, 1)
    checkpoint_every = integer("checkpoint_every", checkpoint_every, 1)
    state, chunk, start, last_rows = _begin(state, folder, num_chunks)
    mend_metrics(folder.metrics, start, last_rows)
    try:
        with (
            quiet_interrupts(),
            MetricsWriter(folder.metrics) as metrics,
            Progress(description, done=max(start, 0), unit=unit, quiet=quiet) as bar,
            _StopSignals() as signals,
        ):
            stopping = False
            while chunk < num_chunks and not stopping:
                before = int(step_of(state))
                state, seen = advance(state)
                state = without_weak_types(state)
                seen = jax.device_get(seen)
                done = int(step_of(state))
                bad = check(seen) if check else None
                rows, text = report(seen, chunk)
                _write_rows(metrics, rows, before, done)
                if bad is not None:
                    step, task, value = bad
                    last = last_checkpoint(folder.checkpoint)
                    raise NonFiniteLoss(int(step), task, float(value), last)
                chunk += 1
                bar.update(
                    done, text, total=done + (num_chunks - chunk) * (done - before)
                )
                stopping = signals.asked
                if stopping or chunk == num_chunks or chunk % checkpoint_every == 0:
                    # With the rows, should the disk lose them where it keeps the state.
                    note = {"chunk": chunk, "rows": metrics.take_last()}
                    save(folder.checkpoint, done, state, note=note)
                    stopping = signals.asked  # while it was saved, too
    except (KeyboardInterrupt, Exception) as error:
        if not was_interrupted(error):
            raise
        stopping = True
    if stopping:
        _leave(folder)
    return state


def first_non_finite(
    losses: Any, steps: Any, names: Sequence[str]
) -> tuple[int, str, float] | None:
    """The earliest loss that is NaN or infinite, as `run_chunks` wants of `check`.

    Args:
      losses: `[n, T]`, or `[seeds, n, T]`.
      steps: `[n]`, the step of each row of losses.
      names: the names of the `T` tasks.

    Returns:
      The step, the task's name and the loss, or None where all are finite.

    Example:
      >>> losses = [[0.5, 0.1], [0.4, float("nan")]]
      >>> first_non_finite(losses, [10, 20], ["main", "flow"])
      (20, 'flow', nan)
    """
    losses = np.asarray(losses, np.float64)
    losses = losses[None] if losses.ndim == 2 else losses
    # Time first, so that the first one found is the earliest over all seeds.
    where = np.argwhere(~np.isfinite(losses.swapaxes(0, 1)))
    if not len(where):
        return None
    row, seed, task = map(int, where[0])
    return int(np.asarray(steps)[row]), names[task], float(losses[seed, row, task])


def _begin(
    state: PyTree, folder: RunFolder, num_chunks: int
) -> tuple[PyTree, int, int, list[str]]:
    """The state, the chunks done, the step so far and the rows written last.

    The step is -1 where nothing was saved.
    """
    state = without_weak_types(state)
    saved = restore(folder.checkpoint, state)
    if saved is None:
        return state, 0, -1, []
    note = read_note(folder.checkpoint)
    chunk = note["chunk"]
    if chunk > num_chunks:
        raise ValueError(
            f"`num_chunks` should be at least {chunk}, what the run in "
            f"`{folder.path}` has done. Found {num_chunks}."
        )
    step, state = saved
    return state, chunk, step, note.get("rows", [])  # earlier versions kept none


def _write_rows(
    metrics: MetricsWriter, rows: Sequence[Mapping[str, Any]], before: int, done: int
) -> None:
    for row in rows:
        # Other rows would be lost, or written twice, when a run resumes.
        if not before < row.get("step", before) <= done:
            raise ValueError(
                f'`row["step"]` should be above {before} and at most {done}, the steps '
                f"of the states around the chunk. Found {row.get('step')}."
            )
        metrics.write(row)


def _leave(folder: RunFolder) -> None:
    """Ends the program, with a word on how to go on."""
    last = last_checkpoint(folder.checkpoint)
    where = "before the first checkpoint" if last is None else f"at step {last.name}"
    print(f"Stopped {where}; resume with --resume ({folder.path}).", file=sys.stderr)
    raise SystemExit(STOPPED)


class _StopSignals:
    """Keeps Ctrl-C and SIGTERM as a wish while a chunk runs; the second one is heard.

    An exception in the midst of a chunk would lose it, and the state too where the
    chunk has been given its memory.
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _StopSignals:
        # Python delivers signals to its main thread, and lets no other one listen.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _ask(self, *_: object) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        print(
            "\nStopping after this chunk. Press Ctrl-C again to stop at once.",
            file=sys.stderr,
        )
