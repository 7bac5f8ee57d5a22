"""What a step costs by each rule, all of them taking turns."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from auxjax.run import Progress, write_json
from auxjax.supervised import TrainState, make_epoch
from lab.optimizer import arrange
from lab.problem import Problem
from lab.rules import BY_NAME

EQUAL = "equal"  # what all are held against
Times = dict[str, dict[str, float]]


def step_times(
    problem: Problem, states: Mapping[str, TrainState], config: Any, path: Path
) -> Times:
    """Milliseconds per step and the ratio to equal weighting, by rule.

    Args:
      problem: what they learned; `per_seed`.
      states: where each of them ended, by name; equal weighting is among them.
      config: of the script, with `turns`.
      path: of the file in which a run that goes on finds the times it has taken.
    """
    known = json.loads(path.read_text("utf-8")) if path.exists() else {}
    untimed = [rule for rule in states if rule not in known]
    if untimed:
        known |= take_turns(problem, states, untimed, config)
        write_json(path, known)
    return {rule: known[rule] for rule in states}


def take_turns(
    problem: Problem,
    states: Mapping[str, TrainState],
    rules: Sequence[str],
    config: Any,
) -> Times:
    """What takes turns, in a shuffled order, is a further epoch of the first seed.

    It is one compiled program: so a rule that does its work every so many steps pays
    for it here. A ratio is the median of the ratios within a turn, so that a busy
    machine slows all alike.
    """
    together, programs = tuple(dict.fromkeys((EQUAL, *rules))), {}
    shown = {"unit": "rules", "quiet": config.quiet}
    with Progress("compiling", total=len(together), **shown) as bar:
        for number, rule in enumerate(together, 1):
            programs[rule] = compiled_epoch(problem, rule, states[rule], config)
            bar.update(number, rule)
    order = np.random.default_rng(0)
    spent = {rule: np.zeros(config.turns) for rule in together}
    shown = {"unit": "turns", "quiet": config.quiet}
    with Progress("timing", total=config.turns, **shown) as bar:
        for turn in range(-1, config.turns):  # the first one warms up
            for rule in order.permutation(together):
                program, *given = programs[rule]
                begin = time.perf_counter()
                jax.block_until_ready(program(*given))
                if turn >= 0:
                    spent[rule][turn] = time.perf_counter() - begin
            bar.update(turn + 1)
    steps = problem.samples // config.batch_size
    return {
        rule: {
            "ms per step": float(np.median(spent[rule]) * 1e3 / steps),
            "time ratio": float(np.median(spent[rule] / spent[EQUAL])),
        }
        for rule in rules
    }


def compiled_epoch(
    problem: Problem, rule: str, state: TrainState, config: Any
) -> tuple[Any, Any, Any]:
    """An epoch of the first seed as one program, and what it is called with."""
    state, train = jax.tree.map(lambda x: x[0], (state, problem.train))
    alone = problem._replace(train=train, test=None, per_seed=False)
    alone, tx = arrange(alone, BY_NAME[rule], config)
    epoch = make_epoch(
        alone.losses, tx, batch_size=config.batch_size, has_state=True, has_key=True
    )
    return jax.jit(epoch).lower(state, train).compile(), state, train
