"""How fast A2C runs: frames per second, against stable-baselines3 and against N.

    python benchmarks/a2c.py --peer-python PEER/bin/python

trains for a few seconds in each setting and writes `benchmarks/results/a2c.md`, `.json`
and `.png`. `PEER` is a virtual environment for the peer alone; see
`benchmarks/peers/sb3_a2c.py`. Ours and the peer's measurements take turns in one run,
so that a busy machine slows both; the ratio is that of the medians.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import time
from pathlib import Path

import jax
import numpy as np

from auxjax.rl import A2CConfig, make_agent, scan_updates
from auxjax.run import (
    machine,
    parse,
    plot_learning_curves,
    print_table,
    short_number,
    table_markdown,
    write_json,
)

OUT = Path("runs", "benchmarks")  # results of this repository: --out benchmarks/results
PEER = Path(__file__).parent / "peers" / "sb3_a2c.py"


@dataclasses.dataclass(frozen=True)
class Config:
    """What to measure.

    Attributes:
      out: the folder for the tables, the numbers and the figure.
      peer_python: a Python that has stable-baselines3; without it only ours is run.
      num_envs: environments of the comparison with the peer, both sides.
      rollout_length: steps between two updates of the comparison, both sides.
      scaling: the numbers of environments to try ours with.
      seconds: how long to time each measurement.
      repeats: measurements a setting, of which the median counts.
      smoke: a few seconds, to see that it works; writes nothing.
    """

    out: Path = OUT
    peer_python: str | None = None
    num_envs: int = 16
    rollout_length: int = 5
    scaling: tuple[int, ...] = (16, 64, 256, 1024)
    seconds: float = 8.0
    repeats: int = 3
    smoke: bool = False


def prepare(method: str, num_envs: int, rollout_length: int):
    """A function that trains for some seconds and returns frames/s; compiled here."""
    agent = make_agent(
        A2CConfig(method=method, num_envs=num_envs, rollout_length=rollout_length)
    )
    length = max(1, 8_192 // agent.frames_per_update)
    advance = jax.jit(lambda s: scan_updates(agent, s, length), donate_argnums=0)
    state = jax.jit(agent.init)(jax.random.key(0))
    state, _ = jax.block_until_ready(advance(state))  # compiles, and warms up
    held = [state]

    def measure(seconds: float) -> float:
        calls, begin = 0, time.perf_counter()
        while (spent := time.perf_counter() - begin) < seconds:
            held[0], _ = jax.block_until_ready(advance(held[0]))
            calls += 1
        return calls * length * agent.frames_per_update / spent

    return measure


def measure_peer(config: Config) -> float:
    """Frames/s of stable-baselines3's A2C, in a process of its own."""
    command = [
        config.peer_python, str(PEER), "--num-envs", str(config.num_envs),
        "--n-steps", str(config.rollout_length), "--seconds", str(config.seconds),
    ]  # fmt: skip
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout.strip().splitlines()[-1])["frames_per_second"])


def against_peer(config: Config) -> list[dict]:
    """Ours and the peer's frames/s, taking turns."""
    ours = {
        "auxjax A2C, no auxiliary tasks": "single",
        "auxjax A2C, five tasks, OL-AUX-5": "olaux",
    }
    peer = "stable-baselines3 A2C, no auxiliary tasks"
    measures = {
        label: prepare(method, config.num_envs, config.rollout_length)
        for label, method in ours.items()
    }
    if config.peer_python:
        measures = {peer: lambda _: measure_peer(config)} | measures
    speeds = {label: [] for label in measures}
    for _ in range(config.repeats):
        for label, measure in measures.items():
            speeds[label].append(measure(config.seconds))
    medians = {label: float(np.median(values)) for label, values in speeds.items()}
    return [
        {
            "agent": label,
            "frames/s": round(median),
            "spread": f"{min(speeds[label]):.0f} to {max(speeds[label]):.0f}",
            "ratio": f"{median / medians[peer]:.1f}" if peer in medians else "-",
        }
        for label, median in medians.items()
    ]


def against_num_envs(config: Config) -> list[dict]:
    """Our frames/s for several numbers of environments."""
    rows = []
    for num_envs in config.scaling:
        row: dict = {"environments": num_envs}
        for method in ("single", "olaux"):
            measure = prepare(method, num_envs, config.rollout_length)
            values = [measure(config.seconds / 2) for _ in range(config.repeats)]
            row[method] = round(float(np.median(values)))
        rows.append(row)
    return rows


def main(args: list[str] | None = None) -> None:
    """Measures, prints and writes down."""
    config = parse(Config, description=__doc__, args=args)
    if config.smoke:
        config = dataclasses.replace(
            config, scaling=(4, 8), num_envs=4, seconds=0.2, repeats=1
        )
    peers, scaling = against_peer(config), against_num_envs(config)
    print_table(peers, f"Breakout-MinAtar, {config.num_envs} environments")
    print_table(scaling, "Frames/s against the number of environments")
    if config.smoke:
        return
    config.out.mkdir(parents=True, exist_ok=True)
    settings = dataclasses.asdict(config)
    del settings["peer_python"], settings["smoke"], settings["out"]
    described = {"settings": settings, "machine": machine()}
    write_json(config.out / "a2c.json", described | {"peer": peers, "scaling": scaling})
    text = f"{table_markdown(peers)}\n\n{table_markdown(scaling)}\n"
    (config.out / "a2c.md").write_text(text)
    x = [row["environments"] for row in scaling]
    plot_learning_curves(
        {
            "no auxiliary tasks": (x, np.array([row["single"] for row in scaling])),
            "five tasks, OL-AUX-5": (x, np.array([row["olaux"] for row in scaling])),
        },
        config.out / "a2c.png",
        title=f"A2C on Breakout-MinAtar, {short_number(max(x))} environments at most",
        xlabel="environments",
        ylabel="frames/s",
    )


if __name__ == "__main__":
    main()
