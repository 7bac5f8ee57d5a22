"""What a rule is in the table, and what it wants to know of the problem."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import optax

WEIGHTING, AGGREGATOR = "weighting", "aggregator"
COMPOSITION, AUXILIARY = "composition", "main + auxiliary"
KINDS = (WEIGHTING, AGGREGATOR, COMPOSITION, AUXILIARY)


@dataclasses.dataclass(frozen=True)
class Setting:
    """What rules want to know of the problem.

    Attributes:
      num_tasks: T; the first task is the main one, for rules that have one.
      optimizer: gradient → update.
      steps: of the whole training.
      epoch_steps: of one pass over the data.
      first_losses: `[T]`, about where each loss begins; empty: 1 each.
      classification: the indices of the tasks whose loss is a cross-entropy.
      primary: the indices of the tasks that count where a rule takes all of them as
        primary ones; empty: all.
      num_labels: `[T]`, how many samples each task has a label of; empty: as many.
      travel: how far Adam may move a learned weight in all. Auto-λ's 1e-4 over its
        40,000 steps on NYUv2 is 4.
      clip_at_zero: keep the weights of OL-AUX at or above 0, for auxiliary losses
        without an upper bound; its paper does not.
      key: of what rules draw; None: each rule's default, the same in every training.

    Raises:
      ValueError: a count is below 1, or a first loss is not above 0.
    """

    num_tasks: int
    optimizer: optax.GradientTransformation
    steps: int
    epoch_steps: int = 1
    first_losses: tuple[float, ...] = ()
    classification: tuple[int, ...] = ()
    primary: tuple[int, ...] = ()
    num_labels: tuple[int, ...] = ()
    travel: float = 4.0
    clip_at_zero: bool = False
    key: jax.Array | None = None

    def __post_init__(self):
        """Checks the counts, and that there are as many first losses as tasks."""
        for name in ("num_tasks", "steps", "epoch_steps"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"`{name}` should be at least 1. Found {getattr(self, name)}."
                )
        if len(self.first_losses) not in (0, self.num_tasks):
            raise ValueError(
                f"`first_losses` should be {self.num_tasks} numbers, one per task. "
                f"Found {len(self.first_losses)}."
            )
        if len(self.num_labels) not in (0, self.num_tasks):
            raise ValueError(
                f"`num_labels` should be {self.num_tasks} numbers, one per task. "
                f"Found {len(self.num_labels)}."
            )
        if any(not loss > 0 for loss in self.first_losses):
            raise ValueError(
                f"`first_losses` should be above 0. Found {self.first_losses}."
            )

    def learn(self, every: int = 1) -> optax.GradientTransformation:
        """The optimizer of a learned weight that moves every so many steps."""
        return optax.adam(self.travel * every / self.steps)


class Rule(NamedTuple):
    """One way to train on several losses: a method, or a variant of one.

    Attributes:
      kind: one of `KINDS`. Rules of the last want the first task to do well, and the
        others only as far as they help it.
      build: from a setting to Jacobian → gradient; or, where the rule is wrapped
        around the optimizer, to Jacobian → update.
      takes: extra arguments of the update: `meta_losses` (the losses on a second
        batch), `sample_losses` (the batch's losses, sample by sample), `next_losses`
        (those of the batch before, at the parameters of now).
      mean: whether its gradient is a mean of the tasks' and not a sum. It is multiplied
        by T, which for SGD is a learning rate times T; Adam does not care.
      around: whether `build` returns a whole optimizer.
    """

    kind: str
    build: Callable[[Setting], optax.GradientTransformation]
    takes: tuple[str, ...] = ()
    mean: bool = False
    around: bool = False

    def __call__(self, setting: Setting) -> optax.GradientTransformationExtraArgs:
        """The whole optimizer, Jacobian → update."""
        built = self.build(setting)
        if self.around:
            return optax.with_extra_args_support(built)
        times = [optax.scale(float(setting.num_tasks))] if self.mean else []
        return optax.chain(built, *times, setting.optimizer)


class Method(NamedTuple):
    """One row of the table: a rule of `auxjax`, what it costs and when to use it.

    Prices are passes over the model in one step with T tasks, the final backward pass
    counted; equal weighting costs one forward and one backward pass.

    Attributes:
      name: the function's in `auxjax`, `name` or `scale_by_name` or both.
      title: the method's own.
      kind: `"weighting"` or `"aggregator"`, the room that it is in.
      backward: backward passes, a number or a term of T.
      tangent: tangent passes, likewise.
      when: to use it.
      when_not: to use it.
      situations: which of them it is for: `"main"` (one main task and helpers),
        `"all"` (all tasks matter), `"many"` tasks, `"rl"` (reinforcement learning).
      call: as in a script, an expression over `auxjax` and `optax` for two tasks.
      variants: how it is built from a setting, by name: the method's own, and what
        follows after a hyphen.
      paper: whose it is, with arXiv's number; empty: nobody's.
      price_note: what else it costs, or less with which option.
      takes: the extra arguments that its update asks for.
      figure_note: what is special about `call` and what it does on the toy problem.
    """

    name: str
    title: str
    kind: str
    backward: str
    tangent: str
    when: str
    when_not: str
    situations: tuple[str, ...]
    call: str
    variants: Mapping[str, Rule] = {}
    paper: str = ""
    price_note: str = ""
    takes: tuple[str, ...] = ()
    figure_note: str = ""
