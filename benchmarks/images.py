"""Images per second of a small CNN's training, against PyTorch on the same machine.

    python benchmarks/images.py --peer-python PEER/bin/python

PEER is a virtual environment with PyTorch, see `peers/torch_cnn.py`. Both sides train
the same network (two 3×3 convolutions with 2×2 max pooling, a hidden layer) by SGD on
one batch, and take turns; the ratio is the median of the ratios within a turn. Ours is
timed step by step and as one scan, which is how `auxjax.supervised` runs an epoch: step
by step the system hands out the temporary memory anew each time. Writes
`runs/benchmarks/images.md` and `.json`, and ends with an error where the scan trains
on fewer than 0.8 times PyTorch's images.
"""

from __future__ import annotations

import dataclasses
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from _ratios import OUT

from auxjax.models import cnn
from auxjax.run import (
    machine,
    parse,
    plain_errors,
    print_table,
    table_markdown,
    write_json,
)

PROMISED = 0.8  # times PyTorch's images per second
PAUSE = 0.25  # seconds before our turn: OpenMP's threads spin on for 0.2 after a step
PEER = Path(__file__).parent / "peers" / "torch_cnn.py"
FORMS: dict[str, Any] = {
    "auto": "auto",
    "patches": "patches",
    "lax.conv": "conv",
}
WAYS = ("one by one", "in a scan")


@dataclasses.dataclass(frozen=True)
class Config:
    """Images per second of a small CNN's training step, against PyTorch's."""

    peer_python: str = ""
    """The interpreter of an environment with PyTorch; empty: our times alone."""
    out: Path = OUT
    """The folder for the table and the numbers."""
    batch: int = 128
    """Images per step."""
    steps: int = 10
    """Steps per turn: timed together, and scanned together."""
    turns: int = 15
    """How often either side is timed."""
    smoke: bool = False
    """Eight images, two steps, two turns; promises nothing."""


class Peer:
    """PyTorch in a process of its own."""

    def __init__(self, python: str, batch: int):
        """Starts it."""
        pipe = subprocess.PIPE
        command = [python, str(PEER), str(batch)]
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)

    def ask(self, steps: int) -> dict:
        """Seconds of so many steps, and what it trains."""
        pipe_in, pipe_out = self._process.stdin, self._process.stdout
        assert pipe_in is not None
        assert pipe_out is not None
        pipe_in.write(json.dumps({"steps": steps}) + "\n")
        pipe_in.flush()
        answer = pipe_out.readline()
        if not answer:
            sys.exit("PyTorch ended before it answered.")
        return json.loads(answer)

    def close(self) -> None:
        """Ends it."""
        self._process.communicate()


def make_runs(config: Config) -> tuple[dict[tuple[str, str], Callable], int]:
    """For each form and way a function that makes `config.steps` steps; parameters."""
    images = jax.random.normal(jax.random.key(0), (config.batch, 28, 28, 1))
    labels = jax.random.randint(jax.random.key(1), (config.batch,), 0, 10)
    optimizer, runs, size = optax.sgd(1e-3), {}, 0
    for name, implementation in FORMS.items():
        model = cnn(10, implementation=implementation)
        params = jax.jit(model.init)(jax.random.key(2), images)
        size = sum(leaf.size for leaf in jax.tree.leaves(params))

        def step(carry, images, labels, model=model):
            def loss(params):
                logits = model.apply(params, images)
                each = optax.softmax_cross_entropy_with_integer_labels
                return jnp.mean(each(logits, labels))

            params, state = carry
            gradient = jax.grad(loss)(params)
            updates, state = optimizer.update(gradient, state, params)
            return optax.apply_updates(params, updates), state

        def scanned(carry, images, labels, step=step):
            def body(carry, _):
                return step(carry, images, labels), None

            return jax.lax.scan(body, carry, length=config.steps)[0]

        carry = params, optimizer.init(params)
        alone = jax.jit(step).lower(carry, images, labels).compile()
        whole = jax.jit(scanned).lower(carry, images, labels).compile()

        def loop(carry=carry, alone=alone):
            for _ in range(config.steps):
                carry = alone(carry, images, labels)
            return carry

        runs[name, WAYS[0]] = loop
        runs[name, WAYS[1]] = lambda whole=whole, carry=carry: whole(
            carry, images, labels
        )
    return runs, size


def timed(run: Callable) -> float:
    """Seconds of the second of two calls, once the other side's threads sleep."""
    time.sleep(PAUSE)
    jax.block_until_ready(run())
    begin = time.perf_counter()
    jax.block_until_ready(run())
    return time.perf_counter() - begin


def measure(config: Config) -> list[dict]:
    """One row a form and way; both sides take turns."""
    runs, size = make_runs(config)
    peer = Peer(config.peer_python, config.batch) if config.peer_python else None
    if peer is not None and (theirs := peer.ask(1)["parameters"]) != size:
        sys.exit(f"The networks differ: {size} parameters, PyTorch's {theirs}.")
    spent: dict[Any, list[float]] = {name: [] for name in (*runs, "PyTorch")}
    order, layout = np.random.default_rng(0), ""
    for turn in range(-1, config.turns):  # the first one warms up
        for at in order.permutation(len(spent)):
            name = list(spent)[at]
            if name != "PyTorch":
                seconds = timed(runs[name])
            elif peer is None:
                seconds = float("nan")
            else:
                answer = peer.ask(config.steps)
                seconds, layout = answer["seconds"], answer["layout"]
            if turn >= 0:
                spent[name].append(seconds)
    if peer is not None:
        peer.close()
    images = config.batch * config.steps
    theirs = np.array(spent.pop("PyTorch"))
    return [
        {
            "convolution": form,
            "steps": way,
            "ms": float(np.median(seconds) * 1e3 / config.steps),
            "images/s": float(np.median(images / np.array(seconds))),
            "PyTorch images/s": float(np.median(images / theirs)),
            "ratio": float(np.median(theirs / np.array(seconds))),
            "PyTorch layout": layout,
        }
        for (form, way), seconds in spent.items()
    ]


def printed(rows: Sequence[dict]) -> list[dict]:
    """The rows with as many digits as mean something."""
    digits = {"ms": 1, "images/s": 0, "PyTorch images/s": 0, "ratio": 2}
    return [
        {k: f"{v:.{digits[k]}f}" if k in digits else v for k, v in row.items()}
        for row in rows
    ]


def broken_promises(rows: Sequence[dict]) -> list[str]:
    """Where the default convolution trains on too few images, in a scan."""
    return [
        f"{row['ratio']:.2f} times PyTorch's images per second"
        for row in rows
        if (row["convolution"], row["steps"]) == ("auto", WAYS[1])
        and row["ratio"] < PROMISED
    ]


def main(args: Sequence[str] | None = None) -> None:
    """Measures, prints, writes, and checks the promise."""
    words = sys.argv[1:] if args is None else args
    config = parse(Config, args=words)
    if config.smoke:
        config = dataclasses.replace(config, batch=8, steps=2, turns=2)
    with plain_errors():
        rows = measure(config)
        print_table(printed(rows), "A training step, in images per second")
        if not config.smoke or config.out != OUT:
            config.out.mkdir(parents=True, exist_ok=True)
            shown = ["PEER/bin/python" if w == config.peer_python else w for w in words]
            command = shlex.join(["python", "benchmarks/images.py", *shown])
            facts = {"command": command, "machine": machine(), "rows": rows}
            write_json(config.out / "images.json", facts)
            described = ", ".join(f"{key} {value}" for key, value in machine().items())
            lines = [
                "# Images per second, against PyTorch 2.13",
                "A training step of `auxjax.models.cnn(10)` on 28×28 images, batch "
                f"{config.batch}, SGD, in turns; medians over {config.turns} turns of "
                f"{config.steps} steps. PyTorch steps one by one, uncompiled.",
                f"    {command}",
                f"Machine: {described}.",
                table_markdown(printed(rows)),
            ]
            (config.out / "images.md").write_text("\n\n".join(lines))
            print(f"Written to {config.out}")
    if not config.smoke and (broken := broken_promises(rows)):
        sys.exit("Fewer than promised: " + "; ".join(broken))


if __name__ == "__main__":
    main()
