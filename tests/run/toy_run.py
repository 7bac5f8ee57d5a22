"""A run small enough to kill: SGD after a random walk, five updates per chunk.

As a program: `python toy_run.py FOLDER SIGNAL CHUNK` sends itself the signal in the
midst of that chunk.
"""

import dataclasses
import os
import signal
import sys

import jax
import jax.numpy as jnp
import optax

from auxjax import run

CHUNK, NUM_CHUNKS = 5, 8


@dataclasses.dataclass(frozen=True)
class Config:
    learning_rate: float = 0.1
    seed: int = 0


def start(config=Config()):
    params = {"x": jnp.zeros(3), "half": jnp.zeros(2, jnp.bfloat16)}
    opt_state = optax.sgd(config.learning_rate, momentum=0.9).init(params)
    return params, opt_state, jax.random.key(config.seed), jnp.int32(0)


def loss_fn(params, target):
    main = jnp.sum((params["x"] - target) ** 2)
    return main + jnp.sum((params["half"].astype(jnp.float32) - target[:2]) ** 2)


@jax.jit
def advance(state):
    def update(state, _):
        params, opt_state, key, step = state
        key, noise = jax.random.split(key)
        target = jax.random.normal(noise, (3,))
        loss, grads = jax.value_and_grad(loss_fn)(params, target)
        updates, opt_state = optax.sgd(0.1, momentum=0.9).update(grads, opt_state)
        params = optax.apply_updates(params, updates)
        return (params, opt_state, key, step + 1), {"loss": loss, "step": step + 1}

    return jax.lax.scan(update, state, length=CHUNK)


def step_of(state):
    return state[-1]


def report(metrics, chunk):
    del chunk
    rows = [
        {"step": int(step), "loss": float(loss)}
        for step, loss in zip(metrics["step"], metrics["loss"], strict=True)
    ]
    return rows, f"loss={rows[-1]['loss']:.3f} w=[1, 0.5]"


def go(path, *, resume=False, **changes):
    folder = run.open_run(path, Config(), resume=resume)
    arguments = {
        "state": start(),
        "advance": advance,
        "num_chunks": NUM_CHUNKS,
        "folder": folder,
        "step_of": step_of,
        "report": report,
        "checkpoint_every": 2,
        "quiet": True,
    }
    return run.run_chunks(**{**arguments, **changes})


def disturbed_report(disturb, at):
    """A report that calls `disturb` in the midst of chunk number `at`."""

    def wrapped(metrics, chunk):
        if chunk == at:
            disturb()
        return report(metrics, chunk)

    return wrapped


if __name__ == "__main__":
    path, name, chunk = sys.argv[1:]
    number = getattr(signal, name)
    go(path, report=disturbed_report(lambda: os.kill(os.getpid(), number), int(chunk)))
