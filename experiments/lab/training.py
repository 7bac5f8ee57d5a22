"""What the supervised experiments share: their command line, a problem, its curves.

A script describes its `Problem`; `lab.loop.train` makes one folder per method, with
checkpoints, and returns its `Curves`. Nothing here knows a data set.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lab.rules import check_names, spelled_out

SINGLE = "single"
MAY_DIFFER = (
    *("resume", "quiet", "out", "name", "method"),
    # These say which trainings there are, or where the data lie.
    *("auxiliary", "primaries", "rotations", "pairs", "near", "far"),
    *("architecture", "setting", "data_dir", "folder"),
)
"""What a resumed run may change."""


@dataclasses.dataclass(frozen=True)
class Training:
    """What every script's command line has.

    Attributes:
      method: the rules to compare, names out of `experiments/lab/rules.py`; `single`
        trains on the main task alone. The papers' names will do: `multi` is `equal`,
        `autolambda` what the script has of it by default.
      seeds: how many; all of a method's train together.
      first_seed: the first one.
      epochs: passes over the training set.
      batch_size: samples per step.
      eval_every: epochs between two evaluations on the test set, and between two
        checkpoints.
      out: the folder that runs are put in.
      name: the run's folder in it; by default the next free one.
      resume: go on with the run that is there.
      smoke: seconds, to see that everything works.
      quiet: show no progress.
    """

    method: tuple[str, ...] = (SINGLE, "equal", "gcs")
    seeds: int = 3
    first_seed: int = 0
    epochs: int = 50
    batch_size: int = 128
    eval_every: int = 5
    out: Path = Path("runs")
    name: str | None = None
    resume: bool = False
    smoke: bool = False
    quiet: bool = False

    def __post_init__(self):
        """Checks what the command line said."""
        names = spelled_out(self.method, type(self).method)
        object.__setattr__(self, "method", names)
        check_names(tuple(name for name in self.method if name != SINGLE))
        if not self.method or len(set(self.method)) < len(self.method):
            raise ValueError(
                "`method` should name at least one, and each once. "
                f"Found {' '.join(self.method) or 'none'}."
            )
        for field in ("seeds", "epochs", "batch_size", "eval_every"):
            if getattr(self, field) < 1:
                raise ValueError(
                    f"`{field}` should be at least 1. Found {getattr(self, field)}."
                )
        if self.epochs % self.eval_every:
            raise ValueError(
                "`epochs` should be a multiple of `eval_every`. "
                f"Found {self.epochs} and {self.eval_every}."
            )


class Problem(NamedTuple):
    """What there is to learn.

    Attributes:
      tasks: the losses' names, the main task's first.
      init: `key -> (params, model_state)`; the state is None where there is none.
      losses: `(params, model_state, batch, key) -> ({task: loss}, model_state)`.
      evaluate: `(params, model_state, test) -> {metric: number}`.
      train: a pytree of arrays `[samples, ...]`.
      test: what `evaluate` takes.
      optimizer: `steps -> optimizer` of the parameters.
      sample_losses: as `losses`, but `({task: [n]}, ...)`; for rules that weigh
        samples. None: such rules are refused.
      classification: the indices of the tasks whose loss is a cross-entropy.
      first_losses: about where each loss begins; empty: 1 each.
      primary: the indices of the tasks that count where a rule takes all as primary
        ones; empty: all.
      travel: how far Adam may move a learned weight in all; see `Setting`.
      predict: `(params, model_state, images) -> predictions`, for who draws them.
    """

    tasks: tuple[str, ...]
    init: Callable[[jax.Array], tuple[Any, Any]]
    losses: Callable[..., tuple[dict[str, jax.Array], Any]]
    evaluate: Callable[[Any, Any, Any], dict[str, jax.Array]]
    train: Any
    test: Any
    optimizer: Callable[[int], optax.GradientTransformation]
    sample_losses: Callable[..., tuple[dict[str, jax.Array], Any]] | None = None
    classification: tuple[int, ...] = ()
    first_losses: tuple[float, ...] = ()
    primary: tuple[int, ...] = ()
    travel: float = 4.0
    predict: Callable[..., Any] | None = None


def only(problem: Problem, task: str) -> Problem:
    """The problem with one task left: what `single` trains on."""

    def losses(*args):
        found, state = problem.losses(*args)
        return {task: found[task]}, state

    return problem._replace(
        tasks=(task,), losses=losses, sample_losses=None, classification=()
    )


class Curves(NamedTuple):
    """What a method measured, over evaluations; leading axis seeds."""

    epochs: np.ndarray  # [n]
    test: dict[str, np.ndarray]  # {metric: [seeds, n]}
    losses: np.ndarray  # [seeds, n, T], mean over the epochs since the one before
    weights: np.ndarray  # [seeds, n, T], likewise; NaN where the rule has none
    tasks: tuple[str, ...]
    seconds: float  # an epoch of all seeds, compilation left out; NaN if not trained

    def last(self, metric: str) -> np.ndarray:
        """`[seeds]`, at the end."""
        return self.test[metric][:, -1]


def accuracy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Share of right answers, in percent."""
    right = jnp.argmax(logits, axis=-1) == labels.astype(jnp.int32)
    return 100 * jnp.mean(right.astype(jnp.float32))


def in_batches(
    function: Callable[[Any], Any], data: Any, batch_size: int
) -> Mapping[str, Any] | Any:
    """`function` of pieces of the data, so that a whole test set need not fit at once.

    Returns:
      What it returned, `[samples, ...]`, in order.
    """
    count = len(jax.tree.leaves(data)[0])
    pieces = -(-count // batch_size)
    short = pieces * batch_size - count

    def fold(x):
        padded = jnp.concatenate([x, x[:1].repeat(short, axis=0)]) if short else x
        return padded.reshape(pieces, batch_size, *x.shape[1:])

    found = jax.lax.map(function, jax.tree.map(fold, data))
    return jax.tree.map(
        lambda x: x.reshape(pieces * batch_size, *x.shape[2:])[:count], found
    )


def say(config: Training, text: str) -> None:
    """A line on stderr, unless told to be quiet."""
    if not config.quiet:
        print(text, file=sys.stderr)
