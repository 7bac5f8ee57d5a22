"""How fast RL-AUX runs: images per second, against stable-baselines3 around PyTorch.

    python benchmarks/labelling.py --peer-python PEER/bin/python

PEER is a virtual environment for the peer alone; see `peers/sb3_rl_aux.py`. Both sides
do the whole alternation on scikit-learn's digits with the same network: an epoch in
which the agent labels, the main network learns from it and PPO updates the agent, then
an epoch in which the main network learns from the agent's deterministic labels. An
image counts once for both. Ours and the peer's take turns, and the ratio is the median
of the ratios within a turn; the peer has the number of threads that was fastest in a
trial. Writes `runs/benchmarks/labelling.md` and `.json`, and ends with an error
where the ratio is less than promised.
"""

from __future__ import annotations

import dataclasses
import json
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from _ratios import OUT

from auxjax.data import digits
from auxjax.labelling import (
    Hierarchy,
    LabelData,
    LabellingConfig,
    make_method,
    many_headed,
)
from auxjax.models import Model, cnn, encoder, linear_head
from auxjax.run import machine, parse, print_table, table_markdown, write_json

PROMISED = 20.0  # times the peer's images per second, with one seed and `small`
PEER = Path(__file__).parent / "peers" / "sb3_rl_aux.py"
CLASSES, PSI, HIDDEN, FEATURES = 4, 3, 64, 64
SMALL, CNN = (16,), (8, 16)  # filters
OURS = {1: "auxjax, 1 seed", 5: "auxjax, 5 seeds"}
THEIRS = "stable-baselines3 and PyTorch"


@dataclasses.dataclass(frozen=True)
class Config:
    """What to measure."""

    peer_python: str = ""
    """A Python that has stable-baselines3 and PyTorch; empty: ours alone."""
    networks: tuple[str, ...] = ("small", "cnn")
    """Of the main task and of the agent: `small` is a convolution of 16 filters and a
    layer of 64 units, `cnn` two convolutions with pooling and two such layers."""
    turns: int = 5
    """How often either side is timed."""
    seconds: float = 2.0
    """How long ours is timed in a turn, at least."""
    threads: tuple[int, ...] = (1, 2)
    """The numbers of threads that the peer tries."""
    out: Path = OUT
    """The folder for the table and the numbers."""
    smoke: bool = False
    """Few images, one turn, one pass of PPO; promises nothing."""

    def __post_init__(self):
        """Checks what the command line said."""
        if unknown := set(self.networks) - {"small", "cnn"}:
            raise ValueError(
                f"`networks` should be of small and cnn. Found {sorted(unknown)}."
            )
        if self.turns < 1 or min(self.threads, default=0) < 1:
            raise ValueError("`turns` and `threads` should be at least 1.")


def read(config: Config) -> tuple[np.ndarray, np.ndarray]:
    """The training digits, and which of four superclasses they belong to."""
    train, _ = digits()
    count = 300 if config.smoke else len(train.labels)
    labels = train.labels[:count]
    return train.images[:count], (labels % 2 * 2 + labels // 5).astype(np.int32)


def told(config: Config) -> LabellingConfig:
    """The paper's settings, which both sides are told."""
    setting = LabellingConfig(method="rl")
    if config.smoke:
        ppo = dataclasses.replace(setting.ppo, epochs=1)
        setting = dataclasses.replace(setting, ppo=ppo)
    return setting


def trunk(network: str, side: int) -> Model:
    """From 8-bit images to 64 features; the peer has the same in PyTorch."""
    if network == "small":
        return encoder((side, side, 1), features=FEATURES, channels=SMALL[0])
    return cnn(FEATURES, channels=CNN, hidden=HIDDEN, relu_out=True)


class Ours:
    """The alternation as one compiled program."""

    def __init__(self, config: Config, network: str, images, labels, seeds: int):
        """Compiles it, and goes through it once."""
        side = images.shape[1]
        blocks, setting = Hierarchy(CLASSES, PSI), told(config)
        heads = (linear_head(CLASSES), linear_head(blocks.num_labels))
        of_agent = (linear_head(blocks.num_labels, scale=0.01), linear_head(1))
        networks = [many_headed(trunk(network, side), *x) for x in (heads, of_agent)]
        method = make_method(setting, blocks, *networks)
        self._data = LabelData(jnp.asarray(images, jnp.float32) / 255, labels)
        self.images = len(labels) // setting.batch_size * setting.batch_size * seeds

        def alternate(states, data):
            return jax.lax.map(lambda state: method.epoch(state, data)[0], states)

        init = jax.jit(jax.vmap(lambda s: method.init(jax.random.key(s), self._data)))
        self._state = init(jnp.arange(seeds))
        begin = time.perf_counter()
        program = jax.jit(alternate, donate_argnums=0)
        self._step = program.lower(self._state, self._data).compile()
        self.compile_seconds = time.perf_counter() - begin
        self._state = self._step(self._state, self._data)

    def __call__(self, seconds: float) -> float:
        """Images per second."""
        jax.block_until_ready(self._state)
        calls, begin = 0, time.perf_counter()
        while not calls or time.perf_counter() - begin < seconds:
            self._state = self._step(self._state, self._data)
            jax.block_until_ready(self._state)
            calls += 1
        return calls * self.images / (time.perf_counter() - begin)


class Peer:
    """stable-baselines3 in a process of its own, one alternation a question."""

    def __init__(self, config: Config, network: str, images, labels, folder: Path):
        """Starts it, and finds the best number of threads after a warm-up."""
        np.savez(folder / "digits.npz", images=images, labels=labels)
        sizes = json.dumps(sizes_of(config, network, images))
        command = [config.peer_python, str(PEER), str(folder / "digits.npz"), sizes]
        pipe = subprocess.PIPE
        self._said = folder / "peer.txt"
        with self._said.open("w") as said:
            self._process = subprocess.Popen(
                command, stdin=pipe, stdout=pipe, stderr=said, text=True
            )
        self.threads = config.threads[0]
        self()
        trials = {n: max(self._ask(n), self._ask(n)) for n in config.threads}
        self.threads = max(trials, key=lambda n: trials[n])

    def __call__(self) -> float:
        """Images per second."""
        return self._ask(self.threads)

    def _ask(self, threads: int) -> float:
        pipe_in, pipe_out = self._process.stdin, self._process.stdout
        assert pipe_in is not None
        assert pipe_out is not None
        pipe_in.write(json.dumps({"threads": threads}) + "\n")
        pipe_in.flush()
        line = pipe_out.readline()
        if not line:
            said = self._said.read_text()[-2000:]
            sys.exit(f"The peer ended early. Its last words:\n{said}")
        answer = json.loads(line)
        self.versions = {k: answer[k] for k in ("torch", "stable_baselines3")}
        return answer["images"] / answer["seconds"]

    def close(self) -> None:
        """Ends it."""
        self._process.communicate()


def sizes_of(config: Config, network: str, images: np.ndarray) -> dict[str, Any]:
    """What the peer has to know to do the same."""
    setting = told(config)
    return {
        "network": network,
        "side": images.shape[1],
        "channels": SMALL if network == "small" else CNN,
        "hidden": HIDDEN,
        "features": FEATURES,
        "classes": CLASSES,
        "psi": PSI,
        "learning_rate": setting.learning_rate,
        "batch_size": setting.batch_size,
        "eval_size": setting.eval_size,
        "rollout_batches": setting.rollout_batches,
        "minibatch_size": setting.ppo.minibatch_size,
        "ppo_epochs": setting.ppo.epochs,
        "ppo_learning_rate": setting.ppo.learning_rate,
        "ppo_entropy": setting.ppo.entropy_coef,
    }


def measure(config: Config, network: str) -> tuple[dict[str, list[float]], dict]:
    """Images per second of either side, turn by turn; what else there is to know."""
    images, labels = read(config)
    ours = {n: Ours(config, network, images, labels, k) for k, n in OURS.items()}
    facts: dict[str, Any] = {
        "sizes": sizes_of(config, network, images),
        "compile_seconds": {name: x.compile_seconds for name, x in ours.items()},
    }
    measures: dict[str, Callable[[], float]] = {
        name: lambda run=run: run(config.seconds) for name, run in ours.items()
    }
    with tempfile.TemporaryDirectory() as folder:
        peer = None
        if config.peer_python:
            peer = Peer(config, network, images, labels, Path(folder))
            measures[THEIRS] = peer
        speeds: dict[str, list[float]] = {name: [] for name in measures}
        for _ in range(config.turns):
            for name, run in measures.items():
                speeds[name].append(run())
        if peer is not None:
            facts["peer"] = {"threads": peer.threads, **peer.versions}
            peer.close()
    return speeds, facts


def table(network: str, speeds: dict[str, list[float]]) -> list[dict[str, Any]]:
    """A row for each side: images per second, and the ratio to the peer's.

    Example:
      >>> table("small", {"auxjax, 1 seed": [90.0, 80.0], THEIRS: [3.0, 2.0]})[0]
      {'network': 'small', 'program': 'auxjax, 1 seed', 'images/s': 85, 'from': 80,
       'to': 90, 'ratio': 35.0}
    """
    theirs = speeds.get(THEIRS)
    return [
        {
            "network": network,
            "program": name,
            "images/s": round(float(np.median(values))),
            "from": round(min(values)),
            "to": round(max(values)),
            "ratio": None
            if theirs is None
            else round(float(np.median(np.divide(values, theirs))), 1),
        }
        for name, values in speeds.items()
    ]


def broken_promises(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What is slower than promised."""
    return [
        f"{row['program']}: {row['ratio']} times the peer's speed, not {PROMISED:g}"
        for row in rows
        if (row["network"], row["program"]) == ("small", OURS[1])
        and row["ratio"] is not None
        and row["ratio"] < PROMISED
    ]


def write(config: Config, words: Sequence[str], rows, turns, facts) -> None:
    """The table and the numbers."""
    config.out.mkdir(parents=True, exist_ok=True)
    shown = ["PEER/bin/python" if w == config.peer_python else w for w in words]
    command = shlex.join(["python", "benchmarks/labelling.py", *shown])
    numbers = {"command": command, "machine": machine(), "networks": facts}
    write_json(config.out / "labelling.json", numbers | {"rows": rows, "turns": turns})
    described = ", ".join(f"{key} {value}" for key, value in machine().items())
    sizes = next(iter(facts.values()))["sizes"]
    lines = [
        "# RL-AUX against stable-baselines3 around PyTorch",
        "Images per second over the whole alternation (an epoch of the agent, an epoch "
        f"of the main network), medians over {config.turns} turns; one image per step "
        f"of a Gymnasium environment on the peer's side. Digits {sizes['side']}x"
        f"{sizes['side']}, batches of {sizes['batch_size']}, PPO with "
        f"{sizes['ppo_epochs']} passes in minibatches of {sizes['minibatch_size']}. "
        f"`small`: a 3x3 convolution of {SMALL[0]} filters, {FEATURES} units; `cnn`: "
        f"two of {CNN[0]} and {CNN[1]} with pooling, twice {FEATURES} units.",
        f"    {command}",
        f"Machine: {described}.",
    ]
    for network, known in facts.items():
        peer = ", ".join(f"{k} {v}" for k, v in known.get("peer", {}).items())
        lines += [f"Peer with `{network}`: {peer}."] if peer else []
    lines.append(table_markdown(rows, missing="-"))
    (config.out / "labelling.md").write_text("\n\n".join(lines))
    print(f"Written to {config.out}")


def main(args: Sequence[str] | None = None) -> None:
    """Measures, prints, writes, and checks the promise."""
    words = sys.argv[1:] if args is None else args
    config = parse(Config, description=__doc__, args=words)
    if config.smoke:
        config = dataclasses.replace(config, turns=1, seconds=0.1)
    rows, turns, facts = [], {}, {}
    for network in config.networks:
        turns[network], facts[network] = measure(config, network)
        rows += table(network, turns[network])
    print_table(rows, "The whole alternation", missing="-")
    if not config.smoke or config.out != OUT:
        write(config, words, rows, turns, facts)
    if not config.smoke and (broken := broken_promises(rows)):
        sys.exit("Less than promised: " + "; ".join(broken))


if __name__ == "__main__":
    main()
