"""A supervised problem: its losses, its data, what is measured; nothing of rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from auxjax.models import Model


class Problem(NamedTuple):
    """What there is to learn.

    Attributes:
      tasks: the losses' names, the main task's first.
      init: `key -> (params, model_state)`; the state is None where there is none.
      losses: `(params, model_state, batch, key) -> ({task: loss}, model_state)`.
      evaluate: `(params, model_state, test) -> {metric: number}`.
      train: a pytree of arrays `[samples, ...]`.
      test: what `evaluate` takes.
      optimizer: `steps -> optimizer` of the parameters.
      sample_losses: as `losses`, but `({task: [n]}, ...)`; for rules that weigh
        samples. None: such rules are refused.
      classification: the indices of the tasks whose loss is a cross-entropy.
      first_losses: about where each loss begins; empty: 1 each.
      primary: the indices of the tasks that count where a rule takes all as primary
        ones; empty: all.
      num_labels: `[T]`, how many samples each task has a label of; empty: as many.
      travel: how far Adam may move a learned weight in all; see `Setting`.
      clip_at_zero: keep OL-AUX's weights at or above 0, as its authors' code does: a
        squared error whose weight is below 0 may grow without end.
      predict: `(params, model_state, images) -> predictions`, for who draws them.
      per_seed: whether every seed has samples of its own: then the arrays of `train`
        and `test` lead with an axis of seeds.
    """

    tasks: tuple[str, ...]
    init: Callable[[jax.Array], tuple[Any, Any]]
    losses: Callable[..., tuple[dict[str, jax.Array], Any]]
    evaluate: Callable[[Any, Any, Any], dict[str, jax.Array]]
    train: Any
    test: Any
    optimizer: Callable[[int], optax.GradientTransformation]
    sample_losses: Callable[..., tuple[dict[str, jax.Array], Any]] | None = None
    classification: tuple[int, ...] = ()
    first_losses: tuple[float, ...] = ()
    primary: tuple[int, ...] = ()
    num_labels: tuple[int, ...] = ()
    travel: float = 4.0
    clip_at_zero: bool = False
    predict: Callable[..., Any] | None = None
    per_seed: bool = False

    @property
    def samples(self) -> int:
        """How many there are to train on, of each seed."""
        return jax.tree.leaves(self.train)[0].shape[int(self.per_seed)]


def only(problem: Problem, task: str) -> Problem:
    """The problem with one task left: what `single` trains on."""

    def losses(*args):
        found, state = problem.losses(*args)
        return {task: found[task]}, state

    return problem._replace(
        tasks=(task,),
        losses=losses,
        sample_losses=None,
        classification=(),
        num_labels=(),
    )


def mean_losses(sample_losses: Callable[..., Any]) -> Callable[..., Any]:
    """The `losses` of a problem whose losses are those of its samples, on average."""

    def losses(*args):
        each, state = sample_losses(*args)
        return {name: jnp.mean(x) for name, x in each.items()}, state

    return losses


def sgd(rate: float, decay: float, steps: int) -> optax.GradientTransformation:
    """Auto-λ's optimizer: momentum 0.9, weight decay, a rate along a cosine to 0."""
    falling = optax.cosine_decay_schedule(rate, steps)
    return optax.chain(
        optax.add_decayed_weights(decay), optax.sgd(falling, momentum=0.9)
    )


def accuracy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Share of right answers, in percent."""
    right = jnp.argmax(logits, axis=-1) == labels.astype(jnp.int32)
    return 100 * jnp.mean(right.astype(jnp.float32))


def in_batches(function: Callable[[Any], Any], data: Any, batch_size: int) -> Any:
    """`function` of pieces of the data, so that a whole test set need not fit at once.

    Returns:
      What it returned, `[samples, ...]`, in order.
    """
    count = len(jax.tree.leaves(data)[0])
    pieces = -(-count // batch_size)
    short = pieces * batch_size - count

    def fold(x):
        padded = jnp.concatenate([x, x[:1].repeat(short, axis=0)]) if short else x
        return padded.reshape(pieces, batch_size, *x.shape[1:])

    found = jax.lax.map(function, jax.tree.map(fold, data))
    return jax.tree.map(
        lambda x: x.reshape(pieces * batch_size, *x.shape[2:])[:count], found
    )


def init_heads(key: jax.Array, head: Model, features: int, names: Sequence[str]) -> Any:
    """A head for each name; drawn together, for many small programs compile slowly."""
    keys = jax.random.split(key, len(names))
    heads = jax.vmap(lambda key: head.init(key, jnp.zeros((1, features))))(keys)
    return {
        name: jax.tree.map(lambda x, i=i: x[i], heads) for i, name in enumerate(names)
    }
