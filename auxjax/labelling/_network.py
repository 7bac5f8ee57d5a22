"""Networks with several heads: what is trained here, and what trains it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax

from auxjax.labelling._hierarchy import Hierarchy
from auxjax.models import Model
from auxjax.rl import ActorCritic, factored_categorical


class Network(NamedTuple):
    """A network with several outputs, as two pure functions.

    | of | outputs |
    |---|---|
    | the main network | class logits `[B, C]`, auxiliary logits `[B, K]` |
    | MAXL's label network | label logits `[B, K]`, and `[B, 1]` for WA-MAXL's weight |
    | RL-AUX's agent | label logits `[B, K]`, value `[B, 1]` |
    | WA-RL's agent | label logits, weight logits `[B, 21]`, value |

    Attributes:
      init: `(key, images [B, ...]) -> (params, model_state)`.
      apply: `(params, model_state, images, train=...) -> (outputs, model_state)`. The
        state is what gradients do not learn: batch statistics. None where there is
        none.
    """

    init: Callable[..., tuple[Any, Any]]
    apply: Callable[..., tuple[tuple[jax.Array, ...], Any]]


@runtime_checkable
class NetworkLike(Protocol):
    """`Network`, or what looks like one: a model with statistics and several heads."""

    @property
    def init(self) -> Callable[..., tuple[Any, Any]]:
        """`(key, images) -> (params, model_state)`."""
        ...

    @property
    def apply(self) -> Callable[..., tuple[Any, Any]]:
        """`(params, model_state, images, train=...) -> (outputs, model_state)`."""
        ...


def many_headed(trunk: Model, *heads: Model) -> Network:
    """One trunk and some heads that read its features.

    Args:
      trunk: from images to features.
      *heads: from features to an output each.

    Returns:
      The network, without a state; its parameters are `trunk` and `heads`, a list.

    Raises:
      ValueError: there is no head.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from auxjax.models import encoder, linear_head
      >>> net = many_headed(encoder((6,), features=8), linear_head(2), linear_head(4))
      >>> params, state = net.init(jax.random.key(0), jnp.zeros((1, 6)))
      >>> main, auxiliary = net.apply(params, state, jnp.zeros((3, 6)), train=True)[0]
      >>> main.shape, auxiliary.shape
      ((3, 2), (3, 4))
    """
    if not heads:
        raise ValueError("`heads` should be at least one. Found none.")

    def init(key, images):
        keys = jax.random.split(key, 1 + len(heads))
        params = {"trunk": trunk.init(keys[0], images)}
        features = trunk.apply(params["trunk"], images)
        params["heads"] = [
            head.init(key, features) for head, key in zip(heads, keys[1:], strict=True)
        ]
        return params, None

    def apply(params, model_state, images, train=False):
        del train
        features = trunk.apply(params["trunk"], images)
        outputs = tuple(
            head.apply(own, features)
            for head, own in zip(heads, params["heads"], strict=True)
        )
        return outputs, model_state

    return Network(init, apply)


def check_outputs(
    name: str,
    network: NetworkLike,
    images: Any,
    sizes: tuple[int, ...],
    *,
    may_have_more: bool = False,
) -> None:
    """Refuses a network whose outputs are not `[1, size]` for one image.

    Args:
      name: of the argument, for the message.
      network: any object with `init` and `apply`.
      images: images `[n, ...]`; only their shape counts.
      sizes: of each output.
      may_have_more: whether further outputs, which nobody reads, are fine.

    Raises:
      ValueError: the outputs are others.
    """

    def outputs(images):
        params, state = network.init(jax.random.key(0), images)
        return tuple(network.apply(params, state, images, train=False)[0])

    one = jax.ShapeDtypeStruct((1, *images.shape[1:]), images.dtype)
    shapes = tuple(out.shape for out in jax.eval_shape(outputs, one))
    if may_have_more:
        shapes = shapes[: len(sizes)]
    wanted = tuple((1, size) for size in sizes)
    if shapes != wanted:
        raise ValueError(
            f"`{name}` should make outputs of shapes {wanted} of one image. "
            f"Found {shapes}."
        )


def agent(network: NetworkLike, hierarchy: Hierarchy) -> ActorCritic:
    """A network as a policy over the labels of each image's own block, and a value.

    The observation is a pair: images `[B, ...]` and their main labels `[B]`. The first
    output's logits are taken from the block, which is the masked softmax over all K
    labels without the labels that have no chance; so an action's first entry counts
    from the block's start. What lies between it and the value are further choices.

    Args:
      network: its first output is `[B, K]`, its last `[B, 1]`.
      hierarchy: the blocks.

    Returns:
      The policy and the value, for PPO.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from auxjax.models import encoder, linear_head
      >>> net = many_headed(encoder((6,), features=8), linear_head(4), linear_head(1))
      >>> policy = agent(net, Hierarchy(classes=2, psi=2))
      >>> observation = jnp.zeros((3, 6)), jnp.array([0, 1, 1])
      >>> params, state = policy.init(jax.random.key(0), observation)
      >>> ((scores,), value), _ = policy.apply(params, state, observation, False)
      >>> scores.shape, value.shape  # of the two labels of each image's block
      ((3, 2), (3,))
    """

    def init(key, observation):
        return network.init(key, observation[0])

    def apply(params, model_state, observation, train):
        images, labels = observation
        outputs, model_state = network.apply(params, model_state, images, train=train)
        first, *others, value = outputs
        choices = (hierarchy.block(first, labels), *others)
        return (choices, value[..., 0]), model_state

    return ActorCritic(init, apply, factored_categorical())
