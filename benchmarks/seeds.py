"""Ten seeds in one program, against the same seeds one after another.

    python benchmarks/seeds.py

Two questions. `program`: the compiled epochs of GCS on main task and rotated copy, all
seeds under `jax.vmap`, against the program of one seed run once per seed; the two take
turns. `command`: `experiments/rotated_mnist.py --seeds 10` against ten times
`--seeds 1`, which is what somebody waits who has no seeds in his program; after a first
run, so that compilations are cached for both. Writes `runs/benchmarks/seeds.md` and
`.json`, and ends with an error where a ratio is below 4.
"""

from __future__ import annotations

import dataclasses
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from _ratios import OUT

import auxjax
from auxjax.data import mnist_5000, rotate
from auxjax.models import linear_head, mlp
from auxjax.run import (
    machine,
    parse,
    plain_errors,
    print_table,
    table_markdown,
    write_json,
)
from auxjax.supervised import init_state, make_train

PROMISED = 4.0
SCRIPT = Path(__file__).parents[1] / "experiments" / "rotated_mnist.py"
SIZES = {"paper": (100, 128), "small": (16, 16)}
"""Units of the three hidden layers, images per step; `paper` is GCS's Table 1."""


@dataclasses.dataclass(frozen=True)
class Config:
    """Seeds together, against one after another."""

    seeds: int = 10
    """How many."""
    epochs: int = 2
    """Of the programs, a turn."""
    turns: int = 5
    """How often either program is timed."""
    command_epochs: tuple[int, ...] = (10, 50)
    """Of the commands; the paper trains for 50."""
    out: Path = OUT
    """The folder for the table and the numbers."""
    smoke: bool = False
    """Two seeds, one turn, few images, no commands; promises nothing."""


def programs(config: Config, size: str) -> tuple[Callable, Callable]:
    """All seeds' epochs at once, and one after another: functions that wait."""
    hidden, batch_size = SIZES[size]
    images, _ = mnist_5000()
    count = 200 if config.smoke else len(images.labels)
    upright = jnp.asarray(images.images[:count])
    data = upright, rotate(upright, 45), jnp.asarray(images.labels[:count])
    trunk, head = mlp((hidden,) * 2, hidden, relu_out=True), linear_head(10)

    def losses(params, batch):
        *views, labels = batch
        means = {}
        for name, view in zip(("main", "rotated"), views, strict=True):
            x = view.reshape(len(view), -1).astype(jnp.float32) / 255
            logits = head.apply(params[name], trunk.apply(params["trunk"], x))
            each = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            means[name] = jnp.mean(each)
        return means

    tx = optax.chain(auxjax.gcs(num_tasks=2), optax.rmsprop(1e-3))
    train = make_train(losses, tx, batch_size=batch_size, num_epochs=config.epochs)

    def start(seed):
        *keys, key = jax.random.split(jax.random.key(seed), 4)
        params = {
            "trunk": trunk.init(keys[0], jnp.zeros((1, upright[0].size))),
            "main": head.init(keys[1], jnp.zeros((1, hidden))),
            "rotated": head.init(keys[2], jnp.zeros((1, hidden))),
        }
        return init_state(params, tx, key)

    state = jax.jit(jax.vmap(start))(jnp.arange(config.seeds))
    first = jax.tree.map(lambda x: x[0], state)
    together = jax.jit(jax.vmap(train, (0, None))).lower(state, data).compile()
    alone = jax.jit(train).lower(first, data).compile()

    def one_after_another():
        for _ in range(config.seeds):
            jax.block_until_ready(alone(first, data))

    return lambda: jax.block_until_ready(together(state, data)), one_after_another


def timed(run: Callable) -> float:
    """Seconds."""
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def measure_programs(config: Config, size: str) -> list[tuple[float, float]]:
    """Seconds of either, for each turn."""
    runs = programs(config, size)
    for run in runs:
        run()
    seconds = []
    for turn in range(config.turns):
        both = {i: timed(runs[i]) for i in ((0, 1) if turn % 2 else (1, 0))}
        seconds.append((both[0], both[1]))
    return seconds


def measure_commands(config: Config, epochs: int) -> list[tuple[float, float]]:
    """Seconds of one command with all seeds, and of one command per seed."""

    def run(seeds: int, first: int) -> None:
        words = f"--seeds {seeds} --first-seed {first} --epochs {epochs}"
        words += " --rotations 45 --method gcs --quiet"
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, str(SCRIPT), *words.split(), "--out", folder]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    for seeds in (config.seeds, 1):
        run(seeds, 0)  # fills the cache of compilations
    together = timed(lambda: run(config.seeds, 0))
    return [(together, timed(lambda: [run(1, seed) for seed in range(config.seeds)]))]


def row(what: str, size: str, turns: Sequence[tuple[float, float]]) -> dict[str, str]:
    """A line of the table: medians over turns.

    Example:
      >>> row("program", "paper", [(1.0, 5.0), (1.0, 3.0), (2.0, 8.0)])["ratio"]
      '4.00'
    """
    together, after_another = np.transpose(turns)
    return {
        "what": what,
        "size": size,
        "together, s": f"{np.median(together):.2f}",
        "one after another, s": f"{np.median(after_another):.2f}",
        "ratio": f"{np.median(after_another / together):.2f}",
    }


def main(args: Sequence[str] | None = None) -> None:
    """Measures, prints, writes, and checks the promise."""
    words = sys.argv[1:] if args is None else args
    config = parse(Config, description=__doc__, args=words)
    if config.smoke:
        smaller = {"seeds": 2, "epochs": 1, "turns": 1, "command_epochs": ()}
        config = dataclasses.replace(config, **smaller)
    with plain_errors():
        rows = [row("program", s, measure_programs(config, s)) for s in SIZES]
        for epochs in config.command_epochs:
            name = f"command, {epochs} epochs"
            rows.append(row(name, "paper", measure_commands(config, epochs)))
    print_table(rows, f"{config.seeds} seeds")
    if not config.smoke or config.out != OUT:
        command = shlex.join(["python", "benchmarks/seeds.py", *words])
        config.out.mkdir(parents=True, exist_ok=True)
        facts = {"command": command, "machine": machine(), "rows": rows}
        write_json(config.out / "seeds.json", facts)
        described = ", ".join(f"{key} {value}" for key, value in machine().items())
        lines = [
            f"# {config.seeds} seeds together, and one after another",
            "GCS on 5,000 digits and the same rotated by 45°; "
            + "; ".join(
                f"`{name}`: 3 × {units} hidden units, {batch} images per step"
                for name, (units, batch) in SIZES.items()
            )
            + f". Programs: {config.epochs} epochs, medians over {config.turns} turns; "
            "commands: once.",
            f"    {command}",
            f"Machine: {described}.",
            table_markdown(rows),
        ]
        (config.out / "seeds.md").write_text("\n\n".join(lines))
        print(f"Written to {config.out}")
    less = [f"{x['what']} ({x['size']})" for x in rows if float(x["ratio"]) < PROMISED]
    if less and not config.smoke:
        sys.exit(f"Less than the promised {PROMISED:g} times: {', '.join(less)}")


if __name__ == "__main__":
    main()
