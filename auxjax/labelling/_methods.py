"""All methods in one training loop: `make_method(config, ...)`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from auxjax._types import Array
from auxjax.labelling._config import LabellingConfig
from auxjax.labelling._hierarchy import Hierarchy
from auxjax.labelling._labellers import (
    LabelData,
    Labeller,
    Made,
    check_data,
    count_labels,
    human_labeller,
    kmeans_labeller,
    random_labeller,
)
from auxjax.labelling._losses import focal_loss_of_logits, label_use
from auxjax.labelling._main import MainBatch, MainState, MainTask, SampleLoss
from auxjax.labelling._maxl import make_maxl
from auxjax.labelling._network import NetworkLike, check_outputs
from auxjax.labelling._rl_aux import make_rl_aux
from auxjax.supervised import epoch_indices


class MethodState(NamedTuple):
    """All that a run needs to go on: save it after an epoch, and resume."""

    main: MainState
    label_state: Any  # the labeller's; `()` where nobody makes labels
    epoch: jax.Array  # [] int32, epochs made
    key: jax.Array  # [] typed PRNG key; stays: the epoch is folded into it


class MethodMetrics(NamedTuple):
    """What an epoch reports: means over the main network's steps, before each."""

    primary: jax.Array  # [], primary loss
    auxiliary: jax.Array  # [], auxiliary loss with its factors, without λ
    accuracy: jax.Array  # [], of the main task on the training batches
    label_use: jax.Array  # [], see `label_use`; 0 without labels
    drawn_label_use: jax.Array  # [], the same of the chances that an agent draws by
    reward: jax.Array  # [], of the labeller's own epoch; 0 where it does not learn


class Method(NamedTuple):
    """A method as pure functions.

    Attributes:
      init: `(key, data) -> MethodState`. Call it outside of `jit` (also under `vmap`
        over keys) to have the data's values checked.
      epoch: `(state, data) -> (MethodState, MethodMetrics)`: an epoch of the main
        network, and one of the labeller where it learns. Pure: jit it, and vmap it
        over seeds, `in_axes=(0, None)`.
      labels: `(state, images, labels, human=None) -> [n] int32`: the auxiliary labels
        of some images, the likeliest where they are distributions.
      predict: `(state, images) -> [n, C]`: the main task's logits.
    """

    init: Callable[[jax.Array, LabelData], MethodState]
    epoch: Callable[[MethodState, LabelData], tuple[MethodState, MethodMetrics]]
    labels: Callable[..., jax.Array]
    predict: Callable[[MethodState, Any], jax.Array]


def make_method(
    config: LabellingConfig,
    hierarchy: Hierarchy,
    main: NetworkLike,
    label_network: NetworkLike | None = None,
    *,
    optimizer: optax.GradientTransformation | None = None,
    primary_loss: SampleLoss = focal_loss_of_logits,
    auxiliary_loss: SampleLoss = focal_loss_of_logits,
    features: Callable[[Array], Array] | None = None,
) -> Method:
    """A way of making auxiliary labels, and the training that uses them.

    | method | who makes the labels | when that one learns |
    |---|---|---|
    | single | nobody: no auxiliary task | |
    | human | people | |
    | random | a hash of the image | |
    | kmeans | clusters of each class | before the first epoch |
    | maxl, wa-maxl | a label network | after each epoch, by the exact gradient |
    | rl, wa-rl | an agent | before each epoch, by PPO |

    Args:
      config: the method and its hyper-parameters.
      hierarchy: the labels.
      main: the main network; outputs class logits `[B, C]`, auxiliary logits `[B, K]`.
      label_network: MAXL's label network, or the agent's; see `make_maxl`,
        `make_rl_aux`.
      optimizer: of the main network; None: SGD that halves its learning rate.
      primary_loss: `(logits, labels) -> [B]`.
      auxiliary_loss: `(logits, targets) -> [B]`.
      features: what k-means clusters; None: the pixels.

    Returns:
      The method.

    Raises:
      ValueError: a method that learns labels has no `label_network`; from `init`, bad
        data or networks with other outputs.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from auxjax.labelling import Hierarchy, many_headed
      >>> from auxjax.models import encoder, linear_head
      >>> blocks = Hierarchy(2, 3)
      >>> net = many_headed(encoder((4,), features=8), linear_head(2), linear_head(6))
      >>> config = LabellingConfig(method="random", batch_size=5)
      >>> method = make_method(config, blocks, net)
      >>> images = jax.random.normal(jax.random.key(0), (20, 4))
      >>> data = LabelData(images, (images[:, 0] > 0).astype(int))
      >>> state = method.init(jax.random.key(1), data)
      >>> state, metrics = jax.jit(method.epoch)(state, data)
      >>> int(state.epoch), method.predict(state, images).shape
      (1, (20, 2))

    References:
      Goldfeder et al., *Generating Auxiliary Tasks with Reinforcement Learning*,
      appendix B.
    """
    labeller = _labeller(config, hierarchy, label_network, features)

    def task_of(data: LabelData) -> MainTask:
        tx = _main_optimizer(config, data) if optimizer is None else optimizer
        weight = 0.0 if labeller is None else config.aux_weight
        return MainTask(main, tx, primary_loss, auxiliary_loss, weight)

    def init(key, data):
        config.check_samples(data.images.shape[0])
        check_data(data, hierarchy)
        heads = (hierarchy.classes, hierarchy.num_labels)
        read = heads[: 1 if labeller is None else 2]
        check_outputs("main", main, data.images, read, may_have_more=True)
        data = jax.tree.map(jnp.asarray, data)
        main_key, label_key, key = jax.random.split(key, 3)
        start = task_of(data).init(main_key, data.images)
        own = () if labeller is None else labeller.init(label_key, data)
        return MethodState(start, own, jnp.zeros((), jnp.int32), key)

    def epoch(state, data):
        data = jax.tree.map(jnp.asarray, data)
        task = task_of(data)
        main_key, label_key = jax.random.split(
            jax.random.fold_in(state.key, state.epoch)
        )
        main_state, label_state = state.main, state.label_state
        reward = jnp.zeros((), jnp.float32)
        learn = None if labeller is None else labeller.learn
        learns_first = labeller is not None and labeller.learns_first
        if learn and learns_first:
            label_state, main_state, reward = learn(
                label_state, task, main_state, data, label_key
            )
        main_state, metrics = _main_epoch(
            config, hierarchy, task, labeller, label_state, main_state, data, main_key
        )
        if learn and not learns_first:
            label_state, main_state, reward = learn(
                label_state, task, main_state, data, label_key
            )
        state = MethodState(main_state, label_state, state.epoch + 1, state.key)
        return state, metrics._replace(reward=reward.astype(jnp.float32))

    def labels(state, images, labels, human=None):
        if labeller is None:
            raise ValueError("The method `single` has no auxiliary labels.")
        made = labeller.label(
            state.label_state, images, jnp.asarray(labels), human, False
        )
        if jnp.issubdtype(made.targets.dtype, jnp.integer):
            return made.targets
        return jnp.argmax(made.targets, axis=-1).astype(jnp.int32)

    def predict(state, images):
        outputs, _ = main.apply(
            state.main.params, state.main.model_state, images, train=False
        )
        return outputs[0]

    return Method(init, epoch, labels, predict)


def _labeller(config, hierarchy, network, features) -> Labeller | None:
    """Who makes the labels; None for nobody."""
    if (config.is_maxl or config.is_rl) and network is None:
        raise ValueError(
            "`label_network` should be a network for method "
            f"{config.method}. Found None."
        )
    if config.is_maxl:
        return make_maxl(config, hierarchy, network)
    if config.is_rl:
        return make_rl_aux(config, hierarchy, network)
    return {
        "single": lambda: None,
        "human": human_labeller,
        "random": lambda: random_labeller(hierarchy),
        "kmeans": lambda: kmeans_labeller(
            hierarchy, iterations=config.kmeans_iterations, features=features
        ),
    }[config.method]()


def _main_optimizer(config, data) -> optax.GradientTransformation:
    """SGD that halves its learning rate; its steps are those of the real epochs."""
    steps = max(data.images.shape[0] // config.batch_size, 1)
    if config.is_rl and config.restore == "never":
        steps *= 2  # the agent's epochs train it too
    return optax.sgd(config.schedule(config.learning_rate, steps))


def _main_epoch(
    config: LabellingConfig,
    hierarchy: Hierarchy,
    task: MainTask,
    labeller: Labeller | None,
    label_state: Any,
    main: MainState,
    data: LabelData,
    key: Array,
) -> tuple[MainState, MethodMetrics]:
    """One pass of the main network over the data, labelled batch by batch."""

    def step(main, indices):
        some = jax.tree.map(lambda x: x[indices], data)
        made, count = Made(None), jnp.zeros((2, hierarchy.num_labels))  # type: ignore
        if labeller is not None:
            made = labeller.label(
                label_state, some.images, some.labels, some.human, True
            )
            chances = made.targets if made.chances is None else made.chances
            both = [count_labels(x, hierarchy) for x in (made.targets, chances)]
            count = jnp.stack(both)
        batch = MainBatch(some.images, some.labels, made.targets, made.factors)
        main, metrics = task.step(main, batch)
        return main, (metrics, count)

    order = epoch_indices(key, data.images.shape[0], config.batch_size)
    main, (metrics, counts) = jax.lax.scan(step, main, order)
    means = jax.tree.map(jnp.mean, metrics)
    given, drawn = (label_use(x, hierarchy) for x in jnp.sum(counts, axis=0))
    return main, MethodMetrics(
        **means._asdict(),
        label_use=given,
        drawn_label_use=drawn,
        reward=jnp.zeros_like(given),
    )
