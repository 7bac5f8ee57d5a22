"""What `meta_gradients.py` differentiates: tasks on digits, two models, a warm start.

Task 0, the primary one, is to name the digit of scikit-learn's 1,797 images; each
other task is to say whether the digit is in a set of five, another set for each.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from auxjax.run import RunError
from meta_gradients.networks import DIGITS, Sizes, init, make_head, make_trunk

WEIGHT = 0.1  # of every task: where Auto-λ starts


class Problem(NamedTuple):
    """Where the meta-gradients are taken, and of what."""

    losses: Callable[[Any, Any], tuple[jax.Array, ...]]
    params: Any
    opt_state: Any
    batches: Any  # leaves [N, B, ...]
    meta_batch: Any  # leaves [B, ...]


def groupings(num_tasks: int) -> np.ndarray:
    """`[T - 1, 10]` of 0 and 1: distinct sets of five digits, none another's rest."""
    sets = [s for s in itertools.combinations(range(DIGITS), 5) if 0 in s]  # 126
    if not 1 <= num_tasks <= len(sets) + 1:
        raise RunError(
            f"`tasks` should be in 1..{len(sets) + 1}, the main task and as many sets "
            f"of five digits as there are. Found {num_tasks}."
        )
    order = np.random.default_rng(0).permutation(len(sets))[: num_tasks - 1]
    table = np.zeros((num_tasks - 1, DIGITS), np.int32)
    for row, chosen in zip(table, order, strict=True):
        row[list(sets[chosen])] = 1
    return table


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Images `[1797, 8, 8]`, standardised, and their digits, shuffled."""
    from sklearn.datasets import load_digits

    data: Any = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    # One mean for all pixels: one that is always black would else be 0 and its weights
    # without any gradient, where differentiating Adam twice gives NaN.
    images = data.images[order].astype(np.float32)
    images = (images - images.mean()) / images.std()
    return images, data.target[order].astype(np.int32)


def make_losses(model: str, num_tasks: int, sizes: Sizes) -> Callable:
    """`losses(params, (images, digits))`: cross-entropies, the main task's first.

    They are computed in the precision of the parameters.
    """
    table = groupings(num_tasks)

    def losses(params, batch):
        images, names = batch
        dtype = jax.tree.leaves(params)[0].dtype
        x = make_trunk(model, sizes, dtype).apply(params["trunk"], images)

        def loss(layers, labels, classes):
            logits = make_head(model, classes, sizes, dtype).apply(layers, x)
            each = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            return each.mean()

        # The heads are alike: one batched product, which compiles as fast for 40.
        sets = jnp.asarray(table)[:, names]
        others = jax.vmap(functools.partial(loss, classes=2))(params["others"], sets)
        return (loss(params["main"], names, DIGITS), *others)

    return losses


def make_problem(
    model: str, num_tasks: int, optimizer: optax.GradientTransformation, sizes: Sizes
) -> Problem:
    """Everything in float32, after `warm_steps` steps of equal weighting."""
    images, names = digits()
    if model == "vgg":
        shape = (len(images), 16, 16)
        images = np.asarray(jax.image.resize(images, shape, "bilinear"))
    losses = make_losses(model, num_tasks, sizes)

    def step(carry, batch):
        params, state = carry
        grads = jax.grad(lambda p: WEIGHT * sum(losses(p, batch)))(params)
        updates, state = optimizer.update(grads, state, params)
        return (optax.apply_updates(params, updates), state), None

    @jax.jit
    def warm(batches):
        params = init(model, num_tasks, sizes)
        return jax.lax.scan(step, (params, optimizer.init(params)), batches)[0]

    # No image of the measured batches was trained on, and none is in two of them.
    held = (sizes.steps + 1) * sizes.batch
    rng = np.random.default_rng(1)
    chosen = rng.integers(held, len(names), (sizes.warm_steps, sizes.batch))
    params, state = warm((images[chosen], names[chosen]))
    parts = [
        x[:held].reshape(sizes.steps + 1, sizes.batch, *x.shape[1:])
        for x in (images, names)
    ]
    batches = tuple(x[:-1] for x in parts)
    return Problem(losses, params, state, batches, tuple(x[-1] for x in parts))


def cast(tree: Any, dtype: Any) -> Any:
    """The same numbers, floating-point leaves in another precision."""

    def leaf(x):
        inexact = jnp.issubdtype(jnp.result_type(x), jnp.inexact)
        return jnp.asarray(x, dtype) if inexact else jnp.asarray(x)

    return jax.tree.map(leaf, tree)
