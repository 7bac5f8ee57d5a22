"""Does Auto-λ tell a helpful task from a useless one? The paper's noise prediction.

    python experiments/noise_task.py

learns to read digits with five more tasks: three that have to do with the digit, one
real task that has not (the orientation of a bar beside it), and one whose target is
pure noise. It leaves `runs/noise_task/`: `noise_task.md`, `.json` and `.png`: the
learned weights, what they were good for, and which of the paper's statements hold.

    python experiments/noise_task.py --primary all

makes every task but the noise a primary one, `noise_task_all.*`.

Source: Liu et al., *Auto-λ: Disentangling Dynamic Task Relationships*, TMLR 2022,
section 5.1 "Noise Prediction as Sanity Check", Figures 4 and 6. **An analogue**: 8x8
digits and a small MLP on a CPU in place of NYUv2 and a ResNet-50.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

from lab.start import needs, quick_compilation

with needs("vision", "plots"):
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax

    import auxjax
    from auxjax.run import (
        Progress,
        open_run,
        parse,
        plain_errors,
        use_compilation_cache,
    )
    from auxjax.supervised import init_state, make_train
    from lab.folders import choose_folder
    from noise import problem as tasks
    from noise import report


@dataclasses.dataclass(frozen=True)
class Config:
    """Auto-λ's sanity check on digits: related, unrelated and noise tasks."""

    primary: Literal["digit", "all"] = "digit"
    """Whose loss counts one step ahead: the digit's, or all but the noise's."""
    seeds: int = 5
    """How many; each draws its own split, patches, noise and network."""
    train_size: int = 320
    """Training images; the rest of the 1,797 are for testing."""
    label_noise: float = 0.0
    """Share of training images whose digit is drawn at random. The three related tasks
    keep their targets, so that they have something to add."""
    pixel_noise: float = 0.5
    """Deviation of what is added to the pixels, anew in every step."""
    hidden: int = 64
    """Units in either layer of the trunk."""
    epochs: int = 1000
    """Passes over the training images."""
    batch_size: int = 32
    """Images per step, in either stream."""
    learning_rate: float = 0.1
    """Of SGD with momentum 0.9 and weight decay 1e-4, as in the paper; falls to 0 along
    a cosine."""
    weight_travel: float = 4.0
    """How far Adam may move a weight in all: its rate is this over the number of steps.
    The paper's 1e-4 over its 40,000 steps on NYUv2 is 4. Auto-λ's and uncertainty's
    weights move at the same rate."""
    second_stream: Literal["reshuffled", "same"] = "reshuffled"
    """The batches that look one step ahead; `same`: the training batches themselves
    (Table 4, "No Swapping")."""
    out: Path = Path("runs")
    """The folder that runs are put in."""
    name: str | None = None
    """The run's folder in it; by default the next free one."""
    resume: bool = False
    """Go on with the run that is there, after the last method it finished."""
    smoke: bool = False
    """Seconds: two seeds, few steps."""
    quiet: bool = False
    """Show no progress."""

    def __post_init__(self):
        """Checks what the command line said."""
        for field in ("seeds", "train_size", "hidden", "epochs", "batch_size"):
            if getattr(self, field) < 1:
                raise ValueError(
                    f"`{field}` should be at least 1. Found {getattr(self, field)}."
                )
        if not self.batch_size <= self.train_size < 1797:
            raise ValueError(
                "`train_size` should be at least `batch_size` and below 1797, the "
                f"number of images. Found {self.train_size} and {self.batch_size}."
            )
        if not 0 <= self.label_noise <= 1:
            raise ValueError(
                f"`label_noise` should be a share. Found {self.label_noise}."
            )

    @property
    def steps(self) -> int:
        """Of a whole run."""
        return self.epochs * (self.train_size // self.batch_size)

    @property
    def primaries(self) -> tuple[str, ...]:
        """The primary tasks' names; the noise is never one."""
        return tuple(tasks.CLASSES) if self.primary == "all" else ("digit",)


SMOKE = {"seeds": 2, "train_size": 64, "epochs": 20, "hidden": 8}
SMOKE_METHODS = (report.EXACT, report.UNCERTAINTY)
MAY_DIFFER = ("resume", "quiet", "out", "name")
UPDATES = 50  # of the bar


def methods(config: Config) -> dict[str, optax.GradientTransformationExtraArgs]:
    """Every method as a whole optimizer, by name."""
    sgd = optax.chain(
        optax.add_decayed_weights(1e-4),
        optax.sgd(
            optax.cosine_decay_schedule(config.learning_rate, config.steps),
            momentum=0.9,
        ),
    )
    num_tasks = len(tasks.TASKS)
    learn = optax.adam(config.weight_travel / config.steps)
    is_primary = [float(name in config.primaries) for name in tasks.TASKS]

    def auto(meta_gradient):
        return auxjax.autolambda(
            sgd,
            num_tasks=num_tasks,
            primary=[tasks.TASKS.index(name) for name in config.primaries],
            init=0.1,
            lambda_optimizer=learn,
            meta_gradient=meta_gradient,
        )

    # All weights start at 1, so that their course can be compared: exp(log 2) / 2.
    uncertainty = auxjax.uncertainty(
        num_tasks, optimizer=learn, init_log_variance=-float(np.log(2))
    )
    return {
        report.EXACT: auto("exact"),
        report.DIFFERENCE: auto("finite_difference"),
        report.UNCERTAINTY: optax.chain(uncertainty, sgd),
        report.EQUAL: optax.chain(auxjax.fixed([1.0] * num_tasks), sgd),
        report.ALONE: optax.chain(auxjax.fixed(is_primary), sgd),
    }


class Problem(NamedTuple):
    """What every method starts from; leading axis seeds."""

    network: tasks.Network
    params: Any
    keys: jax.Array  # [seeds]
    train: tasks.Samples
    test: tasks.Samples


def prepare(config: Config) -> Problem:
    """Draws every seed's samples and network."""
    network = tasks.make_network(config.hidden, config.pixel_noise)
    images, digits = tasks.load()

    def one(seed, images, digits):
        keys = jax.random.split(jax.random.key(seed), 5)
        samples = tasks.draw_tasks(keys[0], images, digits)
        train, test = tasks.split(keys[1], samples, config.train_size)
        train = tasks.corrupt(keys[2], train, config.label_noise)
        return network.init(keys[3]), keys[4], train, test

    drawn = jax.jit(jax.vmap(one, in_axes=(0, None, None)))
    return Problem(network, *drawn(jnp.arange(config.seeds), images, digits))


def run(config: Config, problem: Problem, tx: Any, name: str) -> report.Runs:
    """One method, all seeds together."""
    network, params, keys, data, test = problem
    state = jax.vmap(lambda params, key: init_state(params, tx, key))(params, keys)
    chunk = chunk_size(config.epochs)
    train = make_train(
        network.losses,
        tx,
        batch_size=config.batch_size,
        num_epochs=chunk,
        second_stream=config.second_stream,
        has_key=True,
    )
    forward, parts = jax.jit(jax.vmap(train)), []
    with Progress(name, total=config.epochs, unit="epochs", quiet=config.quiet) as bar:
        for done in range(chunk, config.epochs + 1, chunk):
            state, metrics = forward(state, data)
            parts.append(jax.device_get(metrics))
            bar.update(done)
    accuracy = jax.jit(jax.vmap(network.accuracy))(state.params, test)

    def joined(field):  # parts [seeds, epochs, steps, T] -> [seeds, all steps, T]
        whole = np.concatenate([getattr(part, field) for part in parts], axis=1)
        return whole.reshape(config.seeds, config.steps, len(tasks.TASKS))

    return report.Runs(joined("weights"), joined("losses"), jax.device_get(accuracy))


def chunk_size(epochs: int) -> int:
    """Epochs between updates of the bar; a divisor, so that all chunks are alike."""
    most = max(epochs // UPDATES, 1)
    return next(size for size in range(most, 0, -1) if epochs % size == 0)


def kept(path: Path, make: Callable[[], report.Runs]) -> report.Runs:
    """What `make` returns, or what it returned in the run that goes on."""
    if path.exists():
        with np.load(path) as found:
            accuracy = {k: found[k] for k in found if k not in report.Runs._fields}
            return report.Runs(found["weights"], found["losses"], accuracy)
    made = make()
    unfinished = path.with_suffix(".part")
    with unfinished.open("wb") as file:
        np.savez(file, weights=made.weights, losses=made.losses, **made.accuracy)
    unfinished.replace(path)
    return made


def main(args: Sequence[str] | None = None) -> None:
    """Runs every method, then says what came out."""
    with plain_errors():
        config = parse(Config, description=__doc__, args=args, smoke=SMOKE)
        use_compilation_cache()
        with quick_compilation(config.smoke):
            run_all(config)


def run_all(config: Config) -> None:
    """Every method, each kept when it is finished."""
    stem = "noise_task" if config.primary == "digit" else "noise_task_all"
    problem, folder = prepare(config), choose_folder(config, stem)
    open_run(folder, config, resume=config.resume, may_differ=MAY_DIFFER)
    runs = {
        name: kept(folder / f"method{i}.npz", partial(run, config, problem, tx, name))
        for i, (name, tx) in enumerate(methods(config).items())
        if name in SMOKE_METHODS or not config.smoke
    }
    report.write(config, runs, folder / stem)


if __name__ == "__main__":
    main()
