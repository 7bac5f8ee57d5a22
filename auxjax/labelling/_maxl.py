"""MAXL and WA-MAXL: a label network that learns through the main network's step."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from auxjax._optax import with_mixed_dtypes
from auxjax.labelling._config import LabellingConfig
from auxjax.labelling._hierarchy import Hierarchy, masked_softmax
from auxjax.labelling._label_gradient import LabelGradient, label_gradient
from auxjax.labelling._labellers import LabelData, Labeller, Made
from auxjax.labelling._losses import batch_entropy, weight_scale
from auxjax.labelling._main import MainBatch, MainState, MainTask
from auxjax.labelling._network import NetworkLike, check_outputs
from auxjax.supervised import epoch_indices


class MAXLState(NamedTuple):
    """The label network while it is trained."""

    params: Any  # φ
    model_state: Any
    opt_state: Any


def make_maxl(
    config: LabellingConfig, hierarchy: Hierarchy, label_network: NetworkLike
) -> Labeller:
    r"""A label network, trained by the exact gradient through the main network's step.

    In its epoch the main network stands still: each batch of a reshuffled pass is
    labelled, one step of the main network's own optimizer is looked ahead, and φ
    descends

        M(θ⁺(φ)) − c H(p̄(φ)),   M the primary loss on the same batch

    See `label_gradient`. In the virtual step the batch's own statistics are used, and
    what it does to the main network's running ones is thrown away.

    Args:
      config: the method `maxl` or `wa-maxl`, and the hyper-parameters.
      hierarchy: the labels.
      label_network: outputs label logits `[B, K]`; for `wa-maxl` also `[B, 1]`, whose
        sigmoid w makes the factor 2^(2Rw − R).

    Returns:
      The labeller. Its reward is that of RL-AUX: −M + c H(p̄), higher is better.

    Raises:
      ValueError: from `init`, where the network's outputs are others.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from auxjax.labelling import Hierarchy, LabelData, many_headed
      >>> from auxjax.models import encoder, linear_head
      >>> net = many_headed(encoder((3,), features=4), linear_head(6))
      >>> config = LabellingConfig(method="maxl", batch_size=2)
      >>> labeller = make_maxl(config, Hierarchy(2, 3), net)
      >>> data = LabelData(jnp.ones((2, 3)), jnp.array([0, 1]))
      >>> state = labeller.init(jax.random.key(0), data)
      >>> soft = labeller.label(state, *data, False).targets
      >>> (soft > 0).astype(int).tolist()
      [[1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]]

    References:
      Liu et al., *Self-Supervised Generalisation with Meta Auxiliary Learning*, arXiv
      1901.08933, Algorithm 1; Goldfeder et al., section 4, "Weight Selection".
    """
    sizes = (hierarchy.num_labels, 1)[: 1 + config.weighted]

    def optimizer(data):
        steps = data.images.shape[0] // config.batch_size
        decayed = optax.chain(
            optax.add_decayed_weights(config.label_weight_decay),
            optax.sgd(config.schedule(config.label_learning_rate, max(steps, 1))),
        )
        return with_mixed_dtypes(decayed)

    def init(key, data):
        check_outputs("label_network", label_network, data.images, sizes)
        params, model_state = label_network.init(key, data.images[:1])
        return MAXLState(params, model_state, optimizer(data).init(params))

    def make(params, model_state, images, labels, train):
        outputs, model_state = label_network.apply(
            params, model_state, images, train=train
        )
        soft = masked_softmax(outputs[0], labels, hierarchy)
        factors = None
        if config.weighted:
            weight = jax.nn.sigmoid(outputs[1][..., 0])
            factors = weight_scale(weight, config.weight_scale)
        return Made(soft, factors), model_state

    def label(state, images, labels, human, train):
        del human
        return make(state.params, state.model_state, images, labels, train)[0]

    def learn(state, task: MainTask, main, data: LabelData, key):
        tx = optimizer(data)

        def one(state, indices):
            images, labels = data.images[indices], data.labels[indices]

            def generate(phi):
                return make(phi, state.model_state, images, labels, True)

            descent = maxl_gradient(
                task, main, generate, state.params, images, labels,
                entropy_coef=config.entropy_weight, method=config.meta_method,
            )  # fmt: skip
            update, opt_state = tx.update(
                descent.gradient, state.opt_state, state.params
            )
            params = optax.apply_updates(state.params, update)
            reward = -(descent.meta_loss + descent.penalty)
            return MAXLState(params, descent.aux, opt_state), reward

        order = epoch_indices(key, data.images.shape[0], config.batch_size)
        state, rewards = jax.lax.scan(one, state, order)
        return state, main, jnp.mean(rewards)

    return Labeller(init, label, learn)


def maxl_gradient(
    task: MainTask,
    main: MainState,
    generate: Any,
    phi: Any,
    images: Any,
    labels: jax.Array,
    *,
    entropy_coef: float = 0.2,
    method: str = "exact",
) -> LabelGradient:
    """∂[M(θ⁺(φ)) − c H(p̄(φ))]/∂φ on one batch.

    Args:
      task: the main network, its losses and the optimizer of the step.
      main: θ and the optimizer's state.
      generate: `phi -> (Made, aux)`, the labels of these images.
      phi: φ.
      images: the batch.
      labels: its main labels.
      entropy_coef: c.
      method: `"exact"` or `"difference"`.

    Returns:
      The gradient, M, and −c H(p̄) as the penalty.

    Example:
      >>> import jax, jax.numpy as jnp, optax
      >>> from auxjax.labelling import many_headed
      >>> from auxjax.models import encoder, linear_head
      >>> net = many_headed(encoder((3,), features=4), linear_head(2), linear_head(4))
      >>> task = MainTask(net, optax.sgd(0.1))
      >>> images, labels = jnp.eye(3), jnp.array([0, 1, 1])
      >>> main = task.init(jax.random.key(0), images)
      >>> def generate(phi):  # one row of scores for all images
      ...     return Made(jnp.tile(jax.nn.softmax(phi), (3, 1))), None
      >>> slope = maxl_gradient(task, main, generate, jnp.zeros(4), images, labels)
      >>> slope.gradient.shape, round(float(slope.penalty), 3)  # −0.2 log 4
      ((4,), -0.277)

    References:
      Liu et al., *Self-Supervised Generalisation with Meta Auxiliary Learning*, arXiv
      1901.08933, Eq. 3, 5, 6.
    """

    def train_loss(params, made: Made):
        batch = MainBatch(images, labels, made.targets, made.factors)
        return task.losses(params, main.model_state, batch)[0]

    def meta_loss(params):
        outputs, _ = task.network.apply(params, main.model_state, images, train=True)
        return jnp.mean(task.primary_loss(outputs[0], labels))

    def penalty(made: Made):
        return -entropy_coef * batch_entropy(made.targets)

    return label_gradient(
        generate,
        train_loss,
        meta_loss,
        phi,
        main.params,
        task.optimizer,
        main.opt_state,
        penalty=penalty,
        method=method,
    )
