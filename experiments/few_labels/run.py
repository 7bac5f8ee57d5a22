"""Every method with every number of labels, tuned first where that is asked for."""

from __future__ import annotations

import dataclasses
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
            rate, stop = config.learning_rate, config.epochs // config.eval_every - 1
            if trials is not None:
                rate, stop = choose(*trials, method, where)
            curves = learn(given, problem, method, rate, where)
            results[labels, method] = Trained(curves, rate, stop)
    return results


def choose(
    config: Any, problem: Problem, method: str, folder: Path
) -> tuple[float, int]:
    """The learning rate and the evaluation with the best mean over the tuning seeds."""
    means = []
    for rate in config.tune:
        where = folder.with_name(f"{folder.name}-tuning-{rate:g}")
        curves = learn(config, problem, method, rate, where)
        means.append(np.nan_to_num(curves.test["accuracy"]).mean(axis=0))
    best, stop = np.unravel_index(np.argmax(means), np.shape(means))
    return config.tune[int(best)], int(stop)


def learn(
    config: Any, problem: Problem, method: str, rate: float, folder: Path
) -> Curves:
    """One method at one learning rate, all seeds together."""
    given = dataclasses.replace(config, learning_rate=rate)
    label = f"{config.labels[0]} labels, {TITLES.get(method, method)}"
    problem = problem._replace(optimizer=lambda steps: optimizer(given))
    curves, _ = train(problem, method, given, folder, label=label, rule=OWN.get(method))
    return curves
