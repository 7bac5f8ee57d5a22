"""What the rules cost now against another checkout: time, and time to compile.

    git clone . /tmp/before && git -C /tmp/before checkout REVISION
    python benchmarks/builds.py --before /tmp/before

Each checkout has a process of its own that compiles the steps of `benchmarks/rules.py`;
then they take turns, step by step, and a ratio is the median of those within a turn.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
OUT = Path("runs", "benchmarks")  # results of this repository: --out benchmarks/results


@dataclasses.dataclass(frozen=True)
class Config:
    """What to compare on."""

    before: Path
    """The other checkout."""
    tasks: tuple[int, ...] = (2, 5, 40)
    """The numbers of tasks, main task included."""
    models: tuple[str, ...] = ("mlp", "cnn")
    """Of mlp and cnn."""
    turns: int = 24
    """How often every step is timed."""
    out: Path = OUT
    """The folder for the table and the numbers."""


class Build:
    """A process that has compiled one checkout's steps and runs them when told."""

    def __init__(self, checkout: Path, model: str, num_tasks: int):
        folders = os.pathsep.join(map(str, (checkout, checkout / "benchmarks")))
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--serve", model, str(num_tasks)],
            env={**os.environ, "PYTHONPATH": folders, "JAX_COMPILATION_CACHE_DIR": ""},
            cwd=checkout,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.compile_seconds = self._answer()

    def seconds(self, name: str) -> float:
        """Of one step, after an untimed one."""
        print(name, file=self._process.stdin, flush=True)
        return self._answer()

    def close(self) -> None:
        """Ends the process."""
        self._process.communicate()

    def _answer(self):
        assert self._process.stdout is not None  # a pipe
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("A build ended before its time; see its error above.")
        return json.loads(line)


def serve(model: str, num_tasks: int) -> None:
    """What a `Build`'s process does; the checkout's own modules are on the path."""
    import jax
    from _ratios import Sizes
    from _rules_models import make_model
    from rules import make_steps

    params, batch, losses = make_model(model, num_tasks, Sizes())
    compiled, states, spent = {}, {}, {}
    for name, (state, step) in make_steps(losses, params, num_tasks).items():
        begin = time.perf_counter()
        compiled[name] = jax.jit(step).lower(params, state, batch).compile()
        states[name], spent[name] = state, time.perf_counter() - begin
    print(json.dumps(spent), flush=True)
    for line in sys.stdin:
        for _ in range(2):
            begin = time.perf_counter()
            name = line.strip()
            jax.block_until_ready(compiled[name](params, states[name], batch))
        print(time.perf_counter() - begin, flush=True)


def compare(config: Config, model: str, num_tasks: int) -> list[dict]:
    """One row per rule: its milliseconds now, and ratios to the build before."""
    builds = [Build(path, model, num_tasks) for path in (ROOT, config.before)]
    names = [n for n in builds[0].compile_seconds if n in builds[1].compile_seconds]
    order = np.random.default_rng(0)
    times = {name: np.zeros((config.turns, 2)) for name in names}
    for turn in range(config.turns):
        for name in order.permutation(names):
            for which in order.permutation(2):
                times[name][turn, which] = builds[which].seconds(name)
    for build in builds:
        build.close()
    now, before = (build.compile_seconds for build in builds)
    return [
        {
            "model": model,
            "tasks": num_tasks,
            "rule": name,
            "ms": float(np.median(times[name][:, 0]) * 1e3),
            "time ratio": float(np.median(times[name][:, 0] / times[name][:, 1])),
            "compile ratio": now[name] / before[name],
        }
        for name in names
    ]


def main() -> None:
    """Measures, prints and writes."""
    from auxjax.run import machine, parse, plain_errors, print_table, write_json

    config = parse(Config, description=__doc__)
    with plain_errors():
        rows = []
        for model in config.models:
            for num_tasks in config.tasks:
                rows += compare(config, model, num_tasks)
        config.out.mkdir(parents=True, exist_ok=True)
        write_json(config.out / "builds.json", {"machine": machine(), "rows": rows})
        print_table(rows)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(sys.argv[2], int(sys.argv[3]))
    else:
        main()
