"""The networks of dense prediction: a trunk and a head per task."""

from __future__ import annotations

from typing import Any

import jax

from auxjax.models import StatefulModel, mtan_dense, split_dense


def make_network(
    config: Any, architecture: str, heads: dict[str, int]
) -> StatefulModel:
    """The trunk that the command line says, with an output `[n, H, W, c]` per task.

    Args:
      config: `backbone` and `width`.
      architecture: `split` or `mtan`.
      heads: task -> c, its number of channels.
    """
    if config.backbone == "pixels":
        return pixels(heads)
    build = split_dense if architecture == "split" else mtan_dense
    return build(heads, backbone=config.backbone, width=width_of(config))


def width_of(config: Any) -> float:
    """The factor on the trunk's channels, where the command line says none."""
    if config.width is not None:
        return config.width
    return 0.5 if config.backbone == "small" else 1.0


def pixels(tasks: dict[str, int], features: int = 8) -> StatefulModel:
    """A network that sees each pixel alone: it learns little and compiles at once."""

    def init(key, images):
        keys = jax.random.split(key, 1 + len(tasks))
        shapes = {task: (features, count) for task, count in tasks.items()}
        heads = {
            task: 0.1 * jax.random.normal(key, shape)
            for key, (task, shape) in zip(keys[1:], shapes.items(), strict=True)
        }
        trunk = jax.random.normal(keys[0], (images.shape[-1], features))
        return {"trunk": trunk, "heads": heads}, {}

    def apply(params, state, images, *, train):
        del train
        seen = jax.nn.relu(images @ params["trunk"])
        return {task: seen @ head for task, head in params["heads"].items()}, state

    return StatefulModel(init, apply)
