"""One trunk for all tasks, and a head each."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from auxjax.models import Model, linear_head, mlp_head


def make_network(
    inputs: int | tuple[int, ...],
    hidden: int,
    outputs: Mapping[str, int],
    trunk: Model | None = None,
) -> tuple[Callable, Callable]:
    """A trunk that all tasks share, and a linear head each.

    Args:
      inputs: pixels of an image, or its shape.
      hidden: units of both layers, or the trunk's numbers out.
      outputs: of each task's head.
      trunk: None: two layers of ReLUs.

    Returns:
      `key -> (params, None)` and `(params, images) -> {task: [n, outputs]}`.
    """
    shape = (inputs,) if isinstance(inputs, int) else inputs
    body = mlp_head(hidden, hidden) if trunk is None else trunk
    heads = {name: linear_head(size) for name, size in outputs.items()}

    def init(key):
        keys = jax.random.split(key, len(heads) + 1)
        features = jnp.zeros((1, hidden))
        named = zip(heads.items(), keys[1:], strict=True)
        params = {
            "trunk": body.init(keys[0], jnp.zeros((1, *shape))),
            "heads": {name: head.init(k, features) for (name, head), k in named},
        }
        return params, None

    def predict(params, images):
        features = jax.nn.relu(body.apply(params["trunk"], images))
        return {
            name: head.apply(params["heads"][name], features)
            for name, head in heads.items()
        }

    return init, predict
