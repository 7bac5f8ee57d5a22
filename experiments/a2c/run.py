"""One variant of `atari_a2c.py`: from a configuration to its curves on disk."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from auxjax.envs import make
from auxjax.rl import A2CConfig, Agent, make_agent, scan_updates
from auxjax.run import (
    RunError,
    RunFolder,
    first_non_finite,
    last_checkpoint,
    open_run,
    read_metrics,
    reading,
    run_chunks,
)
from lab.curves import column
from lab.options import may_differ
from lab.timed import Timed, remembered

SPEED = "frames per second"


class Curves(NamedTuple):
    """What a variant measured, over chunks; leading axis seeds where there is one."""

    frames: np.ndarray  # [n]
    returns: np.ndarray  # [seeds, n], mean over the episodes that ended; NaN if none
    weights: np.ndarray  # [seeds, n, T]
    losses: np.ndarray  # [seeds, n, T]
    tasks: tuple[str, ...]
    speed: float  # frames/s of training over all seeds, compilation left out


class Variant(NamedTuple):
    """One of the runs to make."""

    settings: Any  # the script's configuration with this one's method and tasks
    tasks: tuple[str, ...]
    agent: Agent


def variants(config: Any) -> dict[str, A2CConfig]:
    """What the library is told of each run, by label."""
    names = [field.name for field in dataclasses.fields(A2CConfig)]
    shared: dict[str, Any] = {name: getattr(config, name) for name in names}
    told = {m: A2CConfig(**dict(shared, method=m)) for m in config.method}
    if config.single_tasks:
        of_all = A2CConfig(**dict(shared, method="log_loss"))
        for task in of_all.aux or ():
            told[f"only {task}"] = dataclasses.replace(of_all, aux=(task,))
    return told


def make_agents(config: Any) -> dict[str, Variant]:
    """Every run's agent, in the same worlds; fails now and not after the runs before.

    Raises:
      RunError: an unknown game, a task that it cannot have, or an absent package.
    """
    with reading():
        env = make(config.env, config.num_envs)
    agents = {}
    for label, told in variants(config).items():
        settings = dataclasses.replace(config, method=(told.method,), aux=told.aux)
        try:
            agents[label] = Variant(settings, told.tasks, make_agent(told, env=env))
        except ValueError as error:
            raise RunError(f"{label} on {config.env}: {error}") from error
    return agents


def default_name(config: Any) -> str:
    """Of the run's folder: game and methods."""
    name = f"{config.env.replace('/', '-')}-{'-'.join(config.method)}"
    return name + "-single-tasks" * config.single_tasks


def run_variant(config: Any, variant: Variant, folder: Path, label: str) -> Curves:
    """Trains one variant, all its seeds, and returns its curves."""
    seeds = range(config.first_seed, config.first_seed + config.seeds)
    if config.seeds == 1 or variant.agent.env.vmappable:
        groups = {folder: tuple(seeds)}
    else:  # an emulator lives outside of JAX: one seed after another
        groups = {folder / f"seed{seed}": (seed,) for seed in seeds}
    return _join(
        [_run_group(variant, path, group, label) for path, group in groups.items()]
    )


def _run_group(
    variant: Variant, path: Path, seeds: tuple[int, ...], label: str
) -> Curves:
    """Trains some seeds of one variant together, in one folder."""
    config, tasks, agent = variant
    run = open_run(path, config, resume=config.resume, may_differ=may_differ(config))
    frames = agent.frames_per_update
    num_chunks = -(-agent.num_updates // config.chunk)
    if _is_done(run, agent, num_chunks * config.chunk * frames):
        return read_curves(run, tasks, remembered(run.path, SPEED, float("nan")))
    state = start(agent, seeds)
    if not config.quiet:
        print(f"{label}: compiling …", file=sys.stderr)
    # Compiled before the bar starts, so that frames/s are those of training.
    timed = Timed(jax.jit(lambda s: forward(agent, s, config.chunk, len(seeds))))
    timed.compile(state)
    run_chunks(
        state=state,
        advance=timed,
        num_chunks=num_chunks,
        folder=run,
        step_of=lambda s: int(np.max(s.updates)) * frames,
        report=lambda metrics, _: ([row := _row(metrics, frames)], _text(row)),
        checkpoint_every=config.checkpoint_every,
        check=lambda metrics: first_non_finite(
            metrics.losses, metrics.updates[0].astype(int) * frames, tasks
        ),
        description=label,
        unit="frames",
        quiet=config.quiet,
    )
    seen = len(timed.spent) * config.chunk * frames * len(seeds)
    speed = seen / max(sum(timed.spent), 1e-9) if seen else float("nan")
    return read_curves(run, tasks, remembered(run.path, SPEED, speed))


def _is_done(run: RunFolder, agent: Agent, total: int) -> bool:
    """Whether the run in the folder has come to `total` frames already.

    Raises:
      RunError: it has come further, or it cannot go on from where it stopped.
    """
    last = last_checkpoint(run.checkpoint)
    if last is None or int(last.name) == total:
        return last is not None
    if int(last.name) > total:
        raise RunError(
            f"`frames` should be at least {last.name}, which the run in `{run.path}` "
            f"has seen. Found {total}."
        )
    if not agent.env.resumable:
        raise RunError(
            f"{agent.env.name} cannot be resumed: its emulator's state lies outside "
            f"of the checkpoint. Found a run in `{run.path}` that stopped at step "
            f"{last.name}: remove that folder, or choose another name."
        )
    return False


def start(agent: Agent, seeds: tuple[int, ...]):
    """The first state; with a leading seed axis if there are several."""
    if len(seeds) == 1:
        return jax.jit(agent.init)(jax.random.key(seeds[0]))
    keys = jax.vmap(jax.random.key)(np.asarray(seeds))
    return jax.jit(jax.vmap(agent.init))(keys)


def forward(agent: Agent, state: Any, length: int, num_seeds: int):
    """`length` updates; metrics `[seeds, length, ...]`."""
    if num_seeds > 1:

        def one(seed_state):
            return scan_updates(agent, seed_state, length)

        # A CPU multiplies small matrices faster one after another than as a batch.
        if jax.default_backend() == "cpu":
            return jax.lax.map(one, state)
        return jax.vmap(one)(state)
    state, metrics = scan_updates(agent, state, length)
    return state, jax.tree.map(lambda x: x[None], metrics)


def _row(metrics: Any, frames: int) -> dict[str, Any]:
    """The line of `metrics.jsonl` of a chunk, each value a list over seeds."""
    episodes = metrics.episodes.sum(axis=1)
    some = np.maximum(episodes, 1)
    mean_of = {
        "return": metrics.return_sum.sum(axis=1) / some,
        "length": metrics.length_sum.sum(axis=1) / some,
    }
    return {
        "step": int(metrics.updates[0, -1]) * frames,
        **{k: np.where(episodes > 0, v, np.nan).tolist() for k, v in mean_of.items()},
        "episodes": episodes.tolist(),
        "weights": metrics.weights[:, -1].tolist(),
        "losses": metrics.losses.mean(axis=1, dtype=np.float64).tolist(),
    }


def _text(row: dict[str, Any]) -> str:
    """What stands beside the progress bar."""
    finished = [r for r in row["return"] if not np.isnan(r)]
    text = f"return={np.mean(finished):.1f}" if finished else "return=…"
    weights = np.mean(row["weights"], axis=0)[1:]
    return text + (
        f" w=[{' '.join(f'{w:.2f}' for w in weights)}]" if len(weights) else ""
    )


def read_curves(run: RunFolder, tasks: tuple[str, ...], speed: float) -> Curves:
    """The curves in a run's metrics."""
    rows = read_metrics(run.metrics)
    return Curves(
        frames=np.array([row["step"] for row in rows]),
        returns=column([row["return"] for row in rows]),
        weights=column([row["weights"] for row in rows]),
        losses=column([row["losses"] for row in rows]),
        tasks=tasks,
        speed=speed,
    )


def _join(parts: list[Curves]) -> Curves:
    """The curves of several folders, side by side on the seed axis."""
    n = min(len(part.frames) for part in parts)
    return parts[0]._replace(
        frames=parts[0].frames[:n],
        returns=np.concatenate([part.returns[:, :n] for part in parts]),
        weights=np.concatenate([part.weights[:, :n] for part in parts]),
        losses=np.concatenate([part.losses[:, :n] for part in parts]),
        speed=float(np.mean([part.speed for part in parts])),
    )
