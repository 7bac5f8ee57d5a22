"""Errors, times and memory of meta-gradients at one point of training."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from meta_gradients import methods
from meta_gradients.methods import BASELINE, EXACT, FIRST, FORWARD, LAST, TRUTH
from meta_gradients.problem import WEIGHT, Problem, cast

SELDOM = 8  # T tangents through N steps are slow: timed in every eighth turn only


class Optimizer(NamedTuple):
    """What trains, and Eq. 6's α; None: leave Eq. 6 out."""

    name: str
    transform: optax.GradientTransformation
    step_size: float | None


def measure(
    problem: Problem, optimizer: Optimizer, turns: int, dtypes: Sequence[str]
) -> tuple[list[dict], float, Any]:
    """One row a precision, number of steps and method; what checks the truth; that.

    The truth that is returned is the one-step meta-gradient.

    The check: how far the N-step truth's slope along a random direction of λ is from
    the difference that moving λ makes, relatively. The truth is found in the first of
    the precisions, float64.
    """
    rows, truths, check = [], {}, np.nan
    for dtype in dtypes:
        with jax.enable_x64(dtype == "float64"):
            args = arguments(problem, dtype)
            short, long = compile_methods(problem, optimizer, args)
            measured = measure_methods(short, long, args, turns)
            if not truths:  # in float64
                truths = {r["steps"]: g for r, g in measured if r["method"] == TRUTH}
                truth = truths[num_steps_of(args)]
                check = check_truth(problem, long[BASELINE], args, truth)
        for row, grads in measured:
            if grads is not None:
                row |= judge(grads, truths[row["steps"]])
            rows.append({"dtype": dtype, **row})
    return rows, check, truths[1]


def judge(estimate: Any, truth: Any) -> dict[str, float]:
    """How far and how turned a meta-gradient is."""
    return {
        "error": methods.relative_error(estimate, truth),
        "cosine": methods.cosine(estimate, truth),
    }


def arguments(problem: Problem, dtype: str) -> tuple[Any, ...]:
    """Weights, parameters, optimizer state, batches and meta batch in a precision."""
    num_tasks = len(jax.eval_shape(problem.losses, problem.params, problem.meta_batch))
    weights = jnp.full(num_tasks, WEIGHT, dtype)
    return weights, *cast(problem[1:], dtype)


def batches_of(args: tuple[Any, ...], part: slice) -> tuple[Any, ...]:
    """The same arguments with some of the batches."""
    return *args[:3], jax.tree.map(lambda x: x[part], args[3]), args[4]


def num_steps_of(args: tuple[Any, ...]) -> int:
    """N."""
    return jax.tree.leaves(args[3])[0].shape[0]


def compile_methods(problem: Problem, optimizer: Optimizer, args: tuple[Any, ...]):
    """The programs for one step and for N."""
    parts = problem.losses, optimizer.transform
    short = compile_all(methods.one_step_methods(*parts), batches_of(args, slice(1)))
    long = compile_all(methods.n_step_methods(*parts, optimizer.step_size), args)
    return short, long


def measure_methods(
    short: dict, long: dict, several: tuple[Any, ...], turns: int
) -> list[tuple[dict, Any]]:
    """Rows without a verdict, and the meta-gradients that they are about."""
    measured, costs = [], []
    for programs, args in ((short, batches_of(several, slice(1))), (long, several)):
        costs.append(take_turns(programs, args, turns))
        for name, program in programs.items():
            names = {"steps": num_steps_of(args), "method": name}
            measured.append((names | costs[-1][name], program(*args)[1]))
    num_steps = num_steps_of(several)
    cost = _among_many(costs[0][EXACT], costs[1][BASELINE], num_steps)
    for name, grads in _of_one_step(short, several, num_steps).items():
        measured.append(({"steps": num_steps, "method": name, **cost}, grads))
    return measured


def check_truth(
    problem: Problem, train: Callable, args: tuple[Any, ...], truth: Any, h=1e-6
) -> float:
    """⟨truth, r⟩ against [M(λ + hr) - M(λ - hr)] / 2h for a random r, relatively.

    Where h moves a unit over its ReLU's kink the two differ, and neither is wrong.
    """
    weights, *rest = args
    main_loss = jax.jit(lambda params: problem.losses(params, rest[-1])[0])
    direction = np.random.default_rng(0).standard_normal(len(weights))
    ends = [train(weights + sign * h * direction, *rest)[0] for sign in (1.0, -1.0)]
    plus, minus = (float(main_loss(params)) for params, _ in ends)
    expected = (plus - minus) / (2 * h)
    return abs(float(np.asarray(truth) @ direction) - expected) / abs(expected)


def _of_one_step(short: dict, several: tuple[Any, ...], num_steps: int) -> dict:
    """One-step meta-gradients that stand for N steps: of the first, of the last."""
    weights, params, state, _, meta_batch = several
    first = short[EXACT](*batches_of(several, slice(1)))[1]
    for step in range(num_steps - 1):
        batch = batches_of(several, slice(step, step + 1))[3]
        params, state = short[BASELINE](weights, params, state, batch, meta_batch)[0]
    batch = batches_of(several, slice(num_steps - 1, num_steps))[3]
    last = short[EXACT](weights, params, state, batch, meta_batch)[1]
    return {FIRST: first, LAST: last}


def _among_many(one: dict, base: dict, num_steps: int) -> dict:
    """The price of one step with its meta-gradient and N - 1 without; not timed."""
    ratio = (num_steps - 1 + one["time ratio"]) / num_steps
    return {
        "ms": base["ms"] * ratio,
        "time ratio": ratio,
        **{key: one[key] for key in ("MB", "total MB")},
        "memory ratio": _ratio(one["MB"], base["MB"]),
        "total ratio": _ratio(one["total MB"], base["total MB"]),
    }


def compile_all(steps: dict[str, Callable], args: tuple[Any, ...]) -> dict[str, Any]:
    """Every step compiled alone, one after another.

    (Two threads at once can crash jaxlib 0.10 as they read its compilation cache.)
    """
    return {name: jax.jit(step).lower(*args).compile() for name, step in steps.items()}


def take_turns(
    programs: dict[str, Any], args: tuple[Any, ...], turns: int
) -> dict[str, dict]:
    """Times in shuffled turns, ratios within a turn, and memory, a program."""

    def timed(name):
        if name != FORWARD:  # whoever ran last has emptied the caches
            jax.block_until_ready(programs[name](*args))
        begin = time.perf_counter()
        jax.block_until_ready(programs[name](*args))
        return time.perf_counter() - begin

    order = np.random.default_rng(0)
    times = {name: np.full(turns, np.nan) for name in programs}
    for turn in range(-1, turns):  # the first one warms up
        due = [n for n in programs if n != FORWARD or turn < 0 or turn % SELDOM == 0]
        for name in order.permutation(due):
            spent = timed(name)
            if turn >= 0:
                times[name][turn] = spent
    memory = {name: _memory(program) for name, program in programs.items()}
    base = memory[BASELINE]
    return {
        name: {
            "ms": float(np.nanmedian(times[name]) * 1e3),
            "time ratio": float(np.nanmedian(times[name] / times[BASELINE])),
            **memory[name],
            "memory ratio": _ratio(memory[name]["MB"], base["MB"]),
            "total ratio": _ratio(memory[name]["total MB"], base["total MB"]),
        }
        for name in programs
    }


def _ratio(value: float, base: float) -> float:
    """NaN where the baseline needs nothing, as a tiny program may."""
    return value / base if base else float("nan")


def _memory(program: Any) -> dict[str, float]:
    """Temporary buffers; and with them what goes in and comes out."""
    sizes = program.memory_analysis()
    outside = sizes.argument_size_in_bytes + sizes.output_size_in_bytes
    temporary = sizes.temp_size_in_bytes
    return {"MB": temporary / 1e6, "total MB": (temporary + outside) / 1e6}


def sweep_epsilon(
    problem: Problem,
    optimizer: Optimizer,
    epsilons: Sequence[float],
    dtypes: Sequence[str],
    truth: Any = None,
) -> list[dict]:
    """The one-step finite difference's error for every ε and precision.

    The truth is found where none is given.
    """
    parts = problem.losses, optimizer.transform
    rows = []
    for dtype in dtypes:
        with jax.enable_x64(dtype == "float64"):
            args = batches_of(arguments(problem, dtype), slice(1))
            if truth is None:
                truth = jax.jit(functools.partial(methods.by_brute_force, *parts))(
                    *args
                )[1]
            sweep = functools.partial(methods.finite_differences, epsilons, *parts)
            grads = jax.jit(sweep)(*args)
            for epsilon, estimate in zip(epsilons, grads, strict=True):
                row = {"dtype": dtype, "epsilon": epsilon}
                rows.append(row | judge(estimate, truth))
    return rows
