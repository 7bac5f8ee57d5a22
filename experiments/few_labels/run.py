"""Every method with every number of labels, tuned first where that is asked for."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from few_labels.methods import OWN, TITLES
from few_labels.problem import optimizer, prepare
from lab.curves import Curves
from lab.loop import train
from lab.problem import Problem

FIRST_TUNING_SEED = 1000


class Trained(NamedTuple):
    """What a method measured with so many labels, and what it was trained with."""

    curves: Curves
    rate: float  # the learning rate
    decay: float  # of the weights
    stop: int  # the evaluation that counts, from 0

    @property
    def accuracy(self) -> np.ndarray:
        """`[seeds]`, in percent."""
        return self.curves.test["accuracy"][:, self.stop]


Results = dict[tuple[int, str], Trained]


def run_all(
    config: Any, images: np.ndarray, classes: np.ndarray, folder: Path
) -> Results:
    """Trains or goes on; by number of labels and method."""
    results: Results = {}
    for labels in config.labels:
        given = dataclasses.replace(config, labels=(labels,))
        problem, trials = prepare(given, images, classes), None
        if config.tune:
            others = dataclasses.replace(
                given, first_seed=FIRST_TUNING_SEED, seeds=config.tuning_seeds
            )
            trials = others, prepare(others, images, classes)
        for method in config.method:
            where = folder / f"{labels}-{method}"
            how = given
            stop = config.epochs // config.eval_every - 1
            if trials is not None:
                how, stop = choose(given, *trials, method, where)
            curves = learn(how, problem, method, where)
            results[labels, method] = Trained(
                curves, how.learning_rate, how.weight_decay, stop
            )
    return results


def choose(
    given: Any, others: Any, problem: Problem, method: str, folder: Path
) -> tuple[Any, int]:
    """What had the best mean over the tuning seeds: how to train, and where to stop.

    Args:
      given: the configuration of the seeds that are reported.
      others: that of the tuning seeds.
      problem: the tuning seeds'.
      method: which.
      folder: of the method's run; trials go beside it.

    Returns:
      `given` with the best learning rate and weight decay, and the best evaluation.
    """
    means, grid = [], [*itertools.product(given.tune, given.tune_decay)]
    for rate, decay in grid:
        where = folder.with_name(f"{folder.name}-tuning-{rate:g}-{decay:g}")
        trial = dataclasses.replace(others, learning_rate=rate, weight_decay=decay)
        curves = learn(trial, problem, method, where)
        means.append(np.nan_to_num(curves.test["accuracy"]).mean(axis=0))
    best, stop = np.unravel_index(np.argmax(means), np.shape(means))
    rate, decay = grid[int(best)]
    return dataclasses.replace(given, learning_rate=rate, weight_decay=decay), int(stop)


def learn(config: Any, problem: Problem, method: str, folder: Path) -> Curves:
    """One method, all seeds together."""
    label = f"{config.labels[0]} labels, {TITLES.get(method, method)}"
    problem = problem._replace(optimizer=lambda steps: optimizer(config))
    curves, _ = train(
        problem, method, config, folder, label=label, rule=OWN.get(method)
    )
    return curves
