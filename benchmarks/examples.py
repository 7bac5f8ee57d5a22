"""The losses of a batch's examples: what their Gramian, and rules on them, cost.

    python benchmarks/examples.py --peer-python PEER/bin/python

A classifier, a loss for each of 256 examples, and J Jᵀ `[256, 256]` of their gradients.
PEER is a virtual environment with TorchJD, see `peers/torchjd_examples.py`; its
`autogram` takes turns with ours. Time and memory are beside those of the gradient of
the summed losses. Writes `runs/benchmarks/examples.md` and `.json`, and ends with an
error where a Gramian takes more memory than is promised.
"""

from __future__ import annotations

import dataclasses
import json
import math
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
from _ratios import OUT
from _rules_models import SMALL, Sizes, dense, linear, patches

import auxjax
from auxjax.run import (
    machine,
    parse,
    plain_errors,
    print_table,
    table_markdown,
    write_json,
)

MAX_ROWS = 0.2  # of the memory that the rows would take, for `gramian()` on the MLP
PAUSE = 0.25  # seconds before a turn: OpenMP's threads spin on for 0.2 after a step
PEER = Path(__file__).parent / "peers" / "torchjd_examples.py"
BASELINE = "sum of the losses"
RARELY = {"upgrad": 5, "one backward pass each": 2}  # so many turns to one of theirs
QUANTITIES = {"ms": "Milliseconds", "MB": "Temporary memory in MB"}


@dataclasses.dataclass(frozen=True)
class Config:
    """Gramians and rules on the losses of single examples."""

    peer_python: str = ""
    """The interpreter of an environment with TorchJD; empty: our times alone."""
    out: Path = OUT
    """The folder for the table and the numbers."""
    models: tuple[str, ...] = ("mlp", "cnn")
    """Of mlp and cnn."""
    turns: int = 10
    """How often everything is timed."""
    smoke: bool = False
    """Four examples, small models, two turns; promises nothing."""


def make_model(name: str, sizes: Sizes) -> tuple[Any, Any, Callable]:
    """Parameters, a batch, and `losses(params, batch)`, one for each example."""
    keys = iter(jax.random.split(jax.random.key(0), 10))
    if name == "mlp":
        inputs = jax.random.normal(next(keys), (sizes.batch, sizes.inputs))
        widths, filters = [sizes.inputs, *3 * [sizes.width]], []
    else:
        shape, (c1, c2) = (sizes.batch, sizes.images, sizes.images, 3), sizes.channels
        inputs = jax.random.normal(next(keys), shape)
        widths = [(sizes.images // 4) ** 2 * c2, sizes.width]
        filters = [dense(next(keys), 9 * 3, c1), dense(next(keys), 9 * c1, c2)]
    pairs = zip(widths, [*widths[1:], sizes.outputs], strict=True)
    params = {
        "filters": filters,
        "layers": [dense(next(keys), *pair) for pair in pairs],
    }
    labels = jax.random.randint(next(keys), (sizes.batch,), 0, sizes.outputs)

    def loss(params, x, label):
        for layer in params["filters"]:
            x = jax.nn.relu(linear(layer, patches(x[None])[0]))
        x = x.reshape(-1)
        for layer in params["layers"][:-1]:
            x = jax.nn.relu(linear(layer, x))
        return -jax.nn.log_softmax(linear(params["layers"][-1], x))[label]

    def losses(params, batch):
        return jax.vmap(loss, (None, 0, 0))(params, *batch)

    return params, (inputs, labels), losses


def asked(losses: Callable, size: int) -> dict[str, Callable]:
    """What is timed, by name: functions of the parameters and the batch."""

    def jacobian(params, batch):
        return auxjax.task_jacobian(losses, params, batch)

    def one_each(params, batch):
        """As it would be without a look at the program."""
        pull = jax.vjp(lambda p: losses(p, batch), params)[1]
        rows = jax.lax.map(lambda hot: pull(hot)[0], jnp.eye(size))
        flat = jnp.concatenate(
            [x.reshape(size, -1) for x in jax.tree.leaves(rows)], axis=1
        )
        return flat @ flat.T

    def step(rule):
        return lambda p, b: rule.update(jacobian(p, b), rule.init(p), p)[0]

    found = {
        BASELINE: lambda p, b: jacobian(p, b).vjp(jnp.ones(size)),
        "gramian()": lambda p, b: jacobian(p, b).gramian(),
        "gramian(chunk_size=16)": lambda p, b: jacobian(p, b).gramian(chunk_size=16),
        "norms()": lambda p, b: jacobian(p, b).norms(),
        "rows()": lambda p, b: jacobian(p, b).rows(),
        "one backward pass each": one_each,
    }
    for name in ("mgda", "krum", "dualproj", "cagrad", "upgrad"):
        found[name] = step(getattr(auxjax, name)())
    return found


class Peer:
    """TorchJD in a process of its own, one timing a question."""

    def __init__(self, python: str):
        """Starts it."""
        command, pipe = [python, str(PEER)], subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)

    def ask(self, **request: Any) -> float:
        """The seconds that it took."""
        pipe_in, pipe_out = self._process.stdin, self._process.stdout
        assert pipe_in is not None
        assert pipe_out is not None
        pipe_in.write(json.dumps(request) + "\n")
        pipe_in.flush()
        answer = pipe_out.readline()
        if not answer:
            sys.exit(f"TorchJD ended while asked for {request}.")
        return json.loads(answer)["seconds"]

    def close(self) -> None:
        """Ends it."""
        self._process.communicate()


def measure(model: str, sizes: Sizes, config: Config, peer: Peer | None) -> list[dict]:
    """One row for each thing asked; all take turns."""
    params, batch, losses = make_model(model, sizes)
    programs: dict[str, Any] = {
        name: jax.jit(run).lower(params, batch).compile()
        for name, run in asked(losses, sizes.batch).items()
    }

    def timed(program):
        time.sleep(PAUSE)
        jax.block_until_ready(
            program(params, batch)
        )  # whoever ran last used the caches
        begin = time.perf_counter()
        jax.block_until_ready(program(params, batch))
        return time.perf_counter() - begin

    def theirs(what):
        time.sleep(PAUSE)
        assert peer is not None
        return peer.ask(model=model, sizes=dataclasses.asdict(sizes), what=what)

    runs: dict[str, Callable[[], float]] = {
        name: lambda p=program: timed(p) for name, program in programs.items()
    }
    if peer is not None:
        runs[f"TorchJD, {BASELINE}"] = lambda: theirs("equal")
        runs["TorchJD, autogram"] = lambda: theirs("autogram")
    times: dict[str, list[float]] = {name: [] for name in runs}
    order = np.random.default_rng(0)
    for turn in range(-1, config.turns):  # the first one warms up
        for name in order.permutation(list(runs)):
            if turn % RARELY.get(name, 1) == 0 or turn < 0:
                spent = runs[name]()
                if turn >= 0:
                    times[name].append(spent)
    rows = []
    for name in runs:
        program = programs.get(name)
        memory = None
        if program is not None:
            memory = program.memory_analysis().temp_size_in_bytes / 1e6
        ms = float(np.median(times[name]) * 1e3)
        rows.append({"model": model, "what": name, "ms": ms, "MB": memory})
    numbers = sum(math.prod(x.shape) for x in jax.tree.leaves(params))
    whole = 4 * numbers * sizes.batch / 1e6
    return [*rows, {"model": model, "what": "the rows' size", "ms": None, "MB": whole}]


def broken_promises(rows: Sequence[dict]) -> list[str]:
    """Where a Gramian takes as much memory as a part of the rows that is not small."""
    memory = {(row["model"], row["what"]): row["MB"] for row in rows}
    broken = []
    for what in ("gramian()", "gramian(chunk_size=16)"):
        share = memory["mlp", what] / memory["mlp", "the rows' size"]
        if share > MAX_ROWS:
            broken.append(f"{what} on mlp: {share:.2f} of the rows' memory")
    return broken


def pivot(rows: Sequence[dict], quantity: str) -> list[dict]:
    """A row for each thing asked, a column a model."""
    table: dict[str, dict] = {}
    for row in rows:
        line = table.setdefault(row["what"], {"asked": row["what"]})
        value = row[quantity]
        line[row["model"]] = "" if value is None else f"{value:.1f}"
    return list(table.values())


def main(args: Sequence[str] | None = None) -> None:
    """Measures, prints, writes, and checks the promise."""
    words = sys.argv[1:] if args is None else args
    config = parse(Config, args=words)
    sizes = SMALL if config.smoke else Sizes()
    if config.smoke:
        config = dataclasses.replace(config, turns=2)
    rows, peer = [], Peer(config.peer_python) if config.peer_python else None
    with plain_errors():
        for model in config.models:
            rows += measure(model, sizes, config, peer)
            print(f"{model} measured")
        if peer is not None:
            peer.close()
        for quantity, title in QUANTITIES.items():
            print_table(pivot(rows, quantity), title)
        if not config.smoke or config.out != OUT:
            config.out.mkdir(parents=True, exist_ok=True)
            shown = ["PEER/bin/python" if w == config.peer_python else w for w in words]
            command = shlex.join(["python", "benchmarks/examples.py", *shown])
            facts = {"command": command, "machine": machine(), "sizes": sizes}
            numbers = {**facts, "turns": config.turns, "rows": rows}
            write_json(config.out / "examples.json", numbers)
            described = ", ".join(f"{key} {value}" for key, value in machine().items())
            lines = [
                "# The losses of a batch's examples",
                f"A classifier and {sizes.batch} examples, a loss for each; medians "
                f"over {config.turns} turns (fewer of what is slow). Rules: losses and "
                "gradient included.",
                f"    {command}",
                f"Machine: {described}.",
            ]
            for quantity, title in QUANTITIES.items():
                lines += [f"## {title}", table_markdown(pivot(rows, quantity))]
            (config.out / "examples.md").write_text("\n\n".join(lines))
            print(f"Written to {config.out}")
    if not config.smoke and "mlp" in config.models and (b := broken_promises(rows)):
        sys.exit("More than promised: " + "; ".join(b))


if __name__ == "__main__":
    main()
