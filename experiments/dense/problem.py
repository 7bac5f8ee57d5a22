"""Dense prediction as a `Problem`: tasks in any order, with or without noise."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from auxjax import data
from auxjax.run import Progress, reading
from auxjax.supervised import (
    DepthSums,
    NormalSums,
    SegmentationSums,
    masked_l1,
    segmentation_loss,
)
from dense.network import make_network
from dense.variants import NOISE, Variant
from lab.problem import Problem, sgd

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


def tasks_of(scenes: data.Scenes) -> tuple[str, ...]:
    """What there is to learn from such scenes."""
    parts = () if scenes.part is None else ("part",)
    normals = () if scenes.normal is None else ("normal",)
    return ("segmentation", *parts, "depth", *normals)


def make(
    config: Any, train: data.Scenes, test: data.Scenes, variant: Variant
) -> Problem:
    """The variant's tasks in its order; the noise is drawn once per image.

    Augmentation moves the noise with its image. As in the authors' code CityScapes'
    pictures keep their size; that code also crops them, here they are mirrored alone.
    """
    classes = {
        "segmentation": _classes(train.label, test.label),
        "part": _classes(train.part, test.part),
        "depth": 1,
        "normal": 3,
        NOISE: 1,
    }
    heads = {task: classes[task] for task in variant.tasks}
    model = make_network(config, variant.architecture, heads)

    def init(key):
        return model.init(key, jnp.zeros((1, *train.images.shape[1:])))

    losses, sample_losses = _losses(config, model, variant.tasks)

    def predictions(params, state, images):
        return model.apply(params, state, images, train=False)[0]

    def evaluate(params, state, test):
        def add(sums, scenes):
            seen, wanted = predictions(params, state, scenes.images), _targets(scenes)
            return {
                task: total.add(seen[task], wanted[task])
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
        optimizer=functools.partial(sgd, config.learning_rate, config.weight_decay),
        classification=tuple(
            i for i, t in enumerate(variant.tasks) if t in ("segmentation", "part")
        ),
        primary=tuple(i for i, t in enumerate(variant.tasks) if t != NOISE),
        travel=config.travel,
        clip_at_zero=config.clip_at_zero,
        predict=predictions,
    )


def _losses(config: Any, model: Any, tasks: tuple[str, ...]) -> tuple[Any, Any]:
    """`losses` and `sample_losses` of a `Problem`: of a batch, and of each image."""

    def see(params, state, batch, key):
        scenes, noise = batch["scenes"], batch.get(NOISE)
        if config.augment:
            both: Any = scenes._replace(part=(scenes.part, noise))
            street = config.data == "cityscapes"
            scales = (1.0,) if street else (1.0, 1.2, 1.5)
            both = data.augment_scenes(key, both, scales=scales, disparity=street)
            part, noise = both.part
            scenes = both._replace(part=part)
        seen, state = model.apply(params, state, scenes.images, train=True)
        return seen, {**_targets(scenes), NOISE: noise}, state

    def losses(*args):
        seen, wanted, state = see(*args)
        return {task: _loss(task, seen[task], wanted[task]) for task in tasks}, state

    def sample_losses(*args):
        seen, wanted, state = see(*args)

        def each(task):
            one = lambda a, b: _loss(task, a[None], b[None])  # noqa: E731
            return jax.vmap(one)(seen[task], wanted[task])

        return {task: each(task) for task in tasks}, state

    return losses, sample_losses


def _classes(*labels: np.ndarray | None) -> int:
    return int(max((x.max() for x in labels if x is not None), default=-1)) + 1


def _targets(scenes: Any) -> dict[str, Any]:
    return {
        "segmentation": scenes.label,
        "part": scenes.part,
        "depth": scenes.depth,
        "normal": scenes.normal,
    }


def _loss(task: str, seen: jax.Array, wanted: jax.Array) -> jax.Array:
    """As in the paper's code: cross-entropy; masked L1 for everything else."""
    if task in ("segmentation", "part"):
        return segmentation_loss(seen, wanted)
    return masked_l1(seen, wanted)


def _no_sums(tasks: tuple[str, ...], classes: dict[str, int]) -> dict[str, Any]:
    empty = {
        "segmentation": lambda: SegmentationSums.zeros(classes["segmentation"]),
        "part": lambda: SegmentationSums.zeros(classes["part"]),
        "depth": DepthSums.zeros,
        "normal": NormalSums.zeros,
    }
    return {task: empty[task]() for task in tasks if task != NOISE}


def _metric(task: str, total: Any) -> jax.Array:
    metrics = total.metrics()
    if task in ("segmentation", "part"):
        return 100 * metrics["miou"]
    return metrics["absolute_error" if task == "depth" else "mean_angle"]


def _in_batches(scenes: data.Scenes) -> data.Scenes:
    """`[n, ...]` -> `[pieces, size, ...]`, filled up with scenes that are ignored."""
    samples = len(scenes.label)
    size = min(TEST_BATCH, samples)
    pieces = -(-samples // size)
    ignored = {"images": 0, "label": -1, "depth": 0, "normal": 0, "part": -1}

    def fold(name, x):
        rest = pieces * size - samples
        more = np.full((rest, *x.shape[1:]), ignored[name], x.dtype)
        return np.concatenate([x, more]).reshape(pieces, size, *x.shape[1:])

    known = {name: x for name, x in scenes._asdict().items() if x is not None}
    folded = data.Scenes(**{name: fold(name, x) for name, x in known.items()})
    return jax.tree.map(jnp.asarray, folded)
