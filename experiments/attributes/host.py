"""Training on data that stays on the host: batches are put on the device ahead."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from auxjax.data import batches, prefetch
from auxjax.supervised import TrainState, make_step
from lab.loop import only_alive
from lab.problem import Problem
from lab.timed import median
from lab.training import Training

EVALUATED = 500  # images at once


class HostAdvance:
    """Some epochs and an evaluation, all seeds at once, as `lab.loop.Advance`.

    All seeds see the same order of the images, drawn from the first seed and the
    epoch's number: a batch is read once. (On the device each has an order of its own.)
    """

    def __init__(self, problem: Problem, tx: Any, config: Training, second: str):
        """Describes the programs; nothing is compiled yet."""
        self._problem, self._config, self._second = problem, config, second
        self._spent: list[float] = []
        self._samples = len(jax.tree.leaves(problem.train)[0])
        step = make_step(problem.losses, tx, has_state=True, has_key=True)
        self._step = jax.jit(jax.vmap(step, in_axes=(0, None, None)), donate_argnums=0)
        self._piece = jax.jit(jax.vmap(problem.evaluate, in_axes=(0, 0, None)))

    def __call__(self, state: TrainState) -> tuple[TrainState, Any]:
        """One chunk."""
        begin = time.perf_counter()
        steps = self._samples // self._config.batch_size
        first, total = int(np.max(state.step)) // steps, None
        warm = bool(self._spent)
        for epoch in range(first, first + self._config.eval_every):
            with contextlib.closing(self._pairs(epoch)) as pairs:
                for batch, second in pairs:
                    state, metrics = self._step(state, batch, second)
                    if not warm:  # the first step is compilation
                        jax.block_until_ready(metrics)
                        begin, warm = time.perf_counter(), True
                    total = metrics if total is None else _add(total, metrics)
        count = steps * self._config.eval_every
        mean = jax.tree.map(lambda x: x / count, total)
        jax.block_until_ready(mean)
        self._spent.append(time.perf_counter() - begin)
        alive = jax.vmap(only_alive)(self._evaluate(state), mean.losses)
        return state, {"train": mean._asdict(), "test": alive}

    def _pairs(self, epoch: int) -> Generator[tuple[Any, Any], None, None]:
        """The epoch's batches, each with one of another order."""
        data, size = self._problem.train, self._config.batch_size
        seed = 2 * self._config.first_seed
        with contextlib.ExitStack() as stack:
            both = (
                stack.enter_context(prefetch(batches(data, size, seed=s, epoch=epoch)))
                for s in ((seed,) if self._second == "same" else (seed, seed + 1))
            )
            for pair in zip(*both, strict=True):
                yield pair[0], pair[-1]

    def _evaluate(self, state: TrainState) -> dict[str, Any]:
        """The metrics of the pieces of each set, weighted by their sizes."""
        metrics: dict[str, Any] = {}
        for kind, data in self._problem.test.items():
            count = len(jax.tree.leaves(data)[0])
            pieces = batches(data, EVALUATED, shuffle=False, drop_last=False)
            with prefetch(pieces) as ready:
                for piece in ready:
                    share = len(jax.tree.leaves(piece)[0]) / count
                    seen = self._piece(state.params, state.model_state, {kind: piece})
                    for name, value in seen.items():
                        metrics[name] = metrics.get(name, 0.0) + share * value
        return metrics

    @property
    def seconds(self) -> float:
        """Of an epoch without its evaluation, the median; NaN where none was made."""
        return median(self._spent, self._config.eval_every)


def _add(a: Any, b: Any) -> Any:
    return jax.tree.map(jnp.add, a, b)
