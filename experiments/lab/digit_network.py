"""One trunk for all tasks, and a head each."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from auxjax.models import linear_head, mlp_head


def make_network(
    inputs: int, hidden: int, outputs: Mapping[str, int]
) -> tuple[Callable, Callable]:
    """A trunk of two layers of ReLUs that all tasks share, and a linear head each.

    Args:
      inputs: pixels of an image.
      hidden: units of both layers.
      outputs: of each task's head.

    Returns:
      `key -> (params, None)` and `(params, images) -> {task: [n, outputs]}`.
    """
    trunk = mlp_head(hidden, hidden)
    heads = {name: linear_head(size) for name, size in outputs.items()}

    def init(key):
        keys = jax.random.split(key, len(heads) + 1)
        features = jnp.zeros((1, hidden))
        named = zip(heads.items(), keys[1:], strict=True)
        params = {
            "trunk": trunk.init(keys[0], jnp.zeros((1, inputs))),
            "heads": {name: head.init(k, features) for (name, head), k in named},
        }
        return params, None

    def predict(params, images):
        features = jax.nn.relu(trunk.apply(params["trunk"], images))
        return {
            name: head.apply(params["heads"][name], features)
            for name, head in heads.items()
        }

    return init, predict
