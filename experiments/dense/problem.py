"""Dense prediction as a `Problem`: tasks in any order, with or without noise."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from auxjax import data
from auxjax.models import StatefulModel, mtan_dense, split_dense
from auxjax.run import Progress, reading
from auxjax.supervised import (
    DepthSums,
    NormalSums,
    SegmentationSums,
    masked_l1,
    segmentation_loss,
)
from dense.variants import NOISE, Variant
from lab.problem import Problem

TEST_BATCH = 20
METRICS = {
    "segmentation": ("mIoU, %", True),
    "part": ("part mIoU, %", True),
    "depth": ("depth error", False),
    "normal": ("angle, degrees", False),
}
"""Of each task: what is measured, and whether more of it is better."""


def load(config: Any) -> tuple[data.Scenes, data.Scenes]:
    """Training and test scenes."""
    doing = "rendering rooms" if config.data == "rooms" else f"reading {config.data}"
    with Progress(doing, unit="images", quiet=config.quiet) as bar, reading():

        def progress(done, total):
            bar.update(done, total=total)

        if config.data == "rooms":
            size = (config.size, config.size)
            return data.rooms(
                config.train_size, config.test_size, size=size, progress=progress
            )
        read = data.nyuv2 if config.data == "nyuv2" else data.cityscapes
        return read(config.data_dir, progress=progress)


def describe(config: Any, train: data.Scenes, test: data.Scenes) -> str:
    """For the head of a table."""
    names = {"rooms": "rendered rooms", "nyuv2": "NYUv2", "cityscapes": "CityScapes"}
    height, width = train.label.shape[1:]
    analogue = " (an analogue of NYUv2)" if config.data == "rooms" else ""
    return (
        f"{len(train.label):,} training and {len(test.label):,} test images of "
        f"{names[config.data]}{analogue}, {height}x{width}"
    )


def width_of(config: Any) -> float:
    """The factor on the trunk's channels, where the command line says none."""
    if config.width is not None:
        return config.width
    return 0.5 if config.backbone == "small" else 1.0


def tasks_of(scenes: data.Scenes) -> tuple[str, ...]:
    """What there is to learn from such scenes."""
    parts = () if scenes.part is None else ("part",)
    normals = () if scenes.normal is None else ("normal",)
    return ("segmentation", *parts, "depth", *normals)


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


def make(
    config: Any, train: data.Scenes, test: data.Scenes, variant: Variant
) -> Problem:
    """The variant's tasks in its order; the noise is drawn once per image.

    Augmentation moves the noise with its image. As in the authors' code CityScapes'
    pictures keep their size; that code also crops them, here they are mirrored alone.
    """
    classes = {
        "segmentation": _classes(train.label, test.label),
        "part": 0 if train.part is None else _classes(train.part, test.part),
        "depth": 1,
        "normal": 3,
        NOISE: 1,
    }
    heads = {task: classes[task] for task in variant.tasks}
    if config.backbone == "pixels":
        model = pixels(heads)
    else:
        build = split_dense if variant.architecture == "split" else mtan_dense
        model = build(heads, backbone=config.backbone, width=width_of(config))

    def init(key):
        return model.init(key, jnp.zeros((1, *train.images.shape[1:])))

    losses, sample_losses = _losses(config, model, variant.tasks)

    def predictions(params, state, images):
        return model.apply(params, state, images, train=False)[0]

    def evaluate(params, state, test):
        def add(sums, scenes):
            found, wanted = predictions(params, state, scenes.images), _targets(scenes)
            return {
                task: total.add(found[task], wanted[task])
                for task, total in sums.items()
            }, None

        sums, _ = jax.lax.scan(add, _no_sums(variant.tasks, classes), test)
        return {task: _metric(task, total) for task, total in sums.items()}

    learned = {"scenes": jax.tree.map(jnp.asarray, train)}
    if NOISE in variant.tasks:
        shape = (*train.label.shape, 1)
        learned[NOISE] = jax.random.uniform(jax.random.key(1), shape)
    return Problem(
        tasks=variant.tasks,
        init=init,
        losses=losses,
        sample_losses=sample_losses,
        evaluate=evaluate,
        train=learned,
        test=_in_batches(test),
        optimizer=lambda steps: optax.chain(
            optax.add_decayed_weights(config.weight_decay),
            optax.sgd(
                optax.cosine_decay_schedule(config.learning_rate, steps), momentum=0.9
            ),
        ),
        classification=tuple(
            i for i, t in enumerate(variant.tasks) if t in ("segmentation", "part")
        ),
        primary=tuple(i for i, t in enumerate(variant.tasks) if t != NOISE),
        travel=config.travel,
        predict=predictions,
    )


def _losses(config: Any, model: Any, tasks: tuple[str, ...]) -> tuple[Any, Any]:
    """`losses` and `sample_losses` of a `Problem`: of a batch, and of each image."""

    def see(params, state, batch, key):
        scenes, noise = batch["scenes"], batch.get(NOISE)
        if config.augment:
            both = scenes._replace(part=(scenes.part, noise))
            street = config.data == "cityscapes"
            scales = (1.0,) if street else (1.0, 1.2, 1.5)
            both = data.augment_scenes(key, both, scales=scales, disparity=street)
            part, noise = both.part
            scenes = both._replace(part=part)
        found, state = model.apply(params, state, scenes.images, train=True)
        return found, {**_targets(scenes), NOISE: noise}, state

    def losses(*args):
        found, wanted, state = see(*args)
        return {task: _loss(task, found[task], wanted[task]) for task in tasks}, state

    def sample_losses(*args):
        found, wanted, state = see(*args)

        def each(task):
            one = lambda a, b: _loss(task, a[None], b[None])  # noqa: E731
            return jax.vmap(one)(found[task], wanted[task])

        return {task: each(task) for task in tasks}, state

    return losses, sample_losses


def _classes(*labels: np.ndarray) -> int:
    return int(max(x.max() for x in labels)) + 1


def _targets(scenes: Any) -> dict[str, Any]:
    return {
        "segmentation": scenes.label,
        "part": scenes.part,
        "depth": scenes.depth,
        "normal": scenes.normal,
    }


def _loss(task: str, found: jax.Array, wanted: jax.Array) -> jax.Array:
    """As in the paper's code: cross-entropy; masked L1 for everything else."""
    if task in ("segmentation", "part"):
        return segmentation_loss(found, wanted)
    return masked_l1(found, wanted)


def _no_sums(tasks: tuple[str, ...], classes: dict[str, int]) -> dict[str, Any]:
    empty = {
        "segmentation": lambda: SegmentationSums.zeros(classes["segmentation"]),
        "part": lambda: SegmentationSums.zeros(classes["part"]),
        "depth": DepthSums.zeros,
        "normal": NormalSums.zeros,
    }
    return {task: empty[task]() for task in tasks if task != NOISE}


def _metric(task: str, total: Any) -> jax.Array:
    found = total.metrics()
    if task in ("segmentation", "part"):
        return 100 * found["miou"]
    return found["absolute_error" if task == "depth" else "mean_angle"]


def _in_batches(scenes: data.Scenes) -> data.Scenes:
    """`[n, ...]` -> `[pieces, size, ...]`, filled up with scenes that are ignored."""
    samples = len(scenes.label)
    size = min(TEST_BATCH, samples)
    pieces = -(-samples // size)
    ignored = data.Scenes(images=0, label=-1, depth=0, normal=0, part=-1)

    def fold(x, nothing):
        rest = pieces * size - samples
        more = np.full((rest, *x.shape[1:]), nothing, x.dtype)
        return jnp.asarray(np.concatenate([x, more])).reshape(
            pieces, size, *x.shape[1:]
        )

    return data.Scenes(
        *(None if x is None else fold(x, y) for x, y in zip(scenes, ignored))  # noqa: B905
    )
