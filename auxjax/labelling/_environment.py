"""The labelling environment: an agent labels images, a network learns from them."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.core
import jax.numpy as jnp

from auxjax._types import Array, Bool, Float, Int, Key
from auxjax.labelling._episode import EpisodeConfig
from auxjax.labelling._hierarchy import Hierarchy, check_labels
from auxjax.labelling._losses import batch_entropy, weight_factor
from auxjax.labelling._main import MainBatch, MainState, MainTask
from auxjax.supervised import epoch_indices


class EnvParams(NamedTuple):
    """What an episode starts from; arrays, so that nothing is compiled in."""

    images: jax.Array  # [n, ...], the training set
    labels: jax.Array  # [n] int32, its main classes, which have the auxiliary labels
    main: MainState  # the canonical main network
    targets: Any = None  # [n, ...], what the primary loss takes; None: the labels


class EnvState(NamedTuple):
    """All that the environment remembers."""

    main: MainState
    order: jax.Array  # [steps, B] int32, the episode's batches
    batch: jax.Array  # [] int32, which of them is being labelled
    position: jax.Array  # [] int32, which of its images is next
    given: jax.Array  # [B] int32, the labels so far
    weight_classes: jax.Array  # [B] int32, the weight classes so far
    judged: jax.Array  # [m, E] int32, what rewards are measured on, batch by batch


class Observation(NamedTuple):
    """An image to label; in the batched form every leaf has B in front."""

    image: jax.Array
    label: jax.Array  # int32, its main label


Step = tuple[Observation, EnvState, Array, Array, Array, dict[str, Array]]


@dataclasses.dataclass(frozen=True)
class LabellingEnv(EpisodeConfig):
    r"""An episode is an epoch: every image is seen, labelled and trained on once.

    After every B labels the main network is trained one step on the batch. Then

        reward = −(mean primary loss of `eval_size` random training images)
                 + c H(p̄)

    with p̄ the share of each label in the batch, and H as in `batch_entropy`: a more
    even use of labels pays. All other steps pay 0. The images of the rewards are the
    training set in a random order, `eval_size` at a time, from the start again when it
    is through. The interface is that of gymnax 1.0, with `terminated` at the end of the
    epoch and `truncated` never; it does not reset itself: a finished episode's
    observation is its last one, and further steps train nothing and pay 0.

    | | paper | released code | here |
    |---|---|---|---|
    | c | 1 | 0.2 | `entropy_coef`, 1 |
    | p̄ | mean of the agent's probabilities over the evaluation batch, Eq. 3 | over the
      training batch | share of the labels given to the training batch: an environment
      does not see probabilities |
    | sign of H | printed without its minus | adds the entropy | adds the entropy |
    | factors | 2^(10w − 5), Eq. 8 | 2^(8w − 3) | `weight_formula` |
    | main network goes back | at the end of the epoch (section 4), of the batch
      (appendix B) | of the epoch | `restore` |

    An action is a label, `[]` int32, and with `weighted` a pair of a label and a weight
    class, `[2]` int32. See `Hierarchy.inside` for labels outside the image's block.

    The fields of an episode, `batch_size` to `weight_formula`, are `EpisodeConfig`'s.

    Attributes:
      task: the main network, its losses and its optimizer.
      hierarchy: the labels.
      weighted: whether the agent also chooses each sample's weight.
      mode: `"agent"`, or `"main"`: no reward is computed, since no agent learns.
      restore: `"epoch"`: the next episode starts from the canonical network again;
        `"batch"`: so does the next batch (the paper's ablation A.2).

    Raises:
      ValueError: a size is below 1, or a name is none of these.

    References:
      Goldfeder et al., *Generating Auxiliary Tasks with Reinforcement Learning*,
      sections 3 and 4, Eq. 3, 4.
    """

    task: MainTask
    hierarchy: Hierarchy
    weighted: bool = False
    mode: str = "agent"
    restore: str = "epoch"

    def __post_init__(self):
        """Refuses settings that make no sense."""
        super().__post_init__()
        if self.mode not in ("agent", "main"):
            raise ValueError(f'`mode` should be "agent" or "main". Found {self.mode}.')
        if self.restore not in ("epoch", "batch"):
            raise ValueError(
                f'`restore` should be "epoch" or "batch". Found {self.restore}.'
            )

    def reset(
        self, key: Key[Array, ""], params: EnvParams
    ) -> tuple[Observation, EnvState]:
        """A new epoch in a new order, from the canonical main network.

        Args:
          key: of the order, and of the images that rewards are measured on.
          params: the data and the network.

        Returns:
          The first image, and the state.

        Raises:
          ValueError: a batch is larger than the data; images and labels are not as
            many; where the values are at hand, labels out of range or a class without
            any.
        """
        state = self._begin(key, params)
        return self._look(state, params), state

    def reset_batch(
        self, key: Key[Array, ""], params: EnvParams
    ) -> tuple[Observation, EnvState]:
        """`reset` that shows the whole first batch; its states are for `step_batch`."""
        state = self._begin(key, params)
        return self._look_batch(state, params), state

    def step(
        self, key: Key[Array, ""], state: EnvState, action: Int[Array, " ..."],
        params: EnvParams,
    ) -> Step:  # fmt: skip
        """Labels one image; with the batch's last one, trains and pays.

        Args:
          key: not used: all that an episode draws is drawn when it begins.
          state: from `reset` or `step`.
          action: the label, or the label and the weight class.
          params: as given to `reset`.

        Returns:
          The observation, the state, the reward, terminated, truncated, and a dict:
          `trained` (bool), and `loss` and `entropy`, the reward's parts (0 where there
          is none).
        """
        del key
        last = state.position == self.batch_size - 1
        _, label = self._now(state, params)
        given, weight_class = self._decode(action, label)
        state = state._replace(
            given=state.given.at[state.position].set(given),
            weight_classes=state.weight_classes.at[state.position].set(weight_class),
        )
        zero = jnp.zeros((), jnp.float32)
        state, trained, loss, entropy = jax.lax.cond(
            last,
            lambda: self._train(state, params),
            lambda: (
                state._replace(position=state.position + 1),
                jnp.zeros((), bool),
                zero,
                zero,
            ),
        )
        return self._result(state, self._look(state, params), trained, loss, entropy)

    def step_batch(
        self, key: Key[Array, ""], state: EnvState, action: Int[Array, "B ..."],
        params: EnvParams,
    ) -> Step:  # fmt: skip
        """Labels a whole batch: what B calls of `step` do, in one.

        Args:
          key: not used, as in `step`.
          state: from `reset_batch` or `step_batch`.
          action: one per sample, `[B]` or `[B, 2]`.
          params: as given to `reset_batch`.

        Returns:
          As `step`, with an observation of the whole next batch.
        """
        del key
        indices = state.order[state.batch]
        labels = params.labels[indices].astype(jnp.int32)
        given, weight_classes = self._decode(action, labels)
        state = state._replace(given=given, weight_classes=weight_classes)
        state, trained, loss, entropy = self._train(state, params)
        return self._result(
            state, self._look_batch(state, params), trained, loss, entropy
        )

    def keep(self, state: EnvState, params: EnvParams) -> EnvParams:
        """Makes the main network of an episode the canonical one."""
        return params._replace(main=state.main)

    def indices(self, state: EnvState) -> Int[Array, " B"]:
        """The batch that is being labelled; after the last one, still that."""
        return state.order[jnp.minimum(state.batch, state.order.shape[0] - 1)]

    def _begin(self, key, params: EnvParams) -> EnvState:
        samples = params.images.shape[0]
        for name in ("labels", "targets"):
            values = getattr(params, name)
            if values is not None and len(values) != samples:
                raise ValueError(
                    f"`{name}` should be {samples}, as many as there are images. "
                    f"Found {len(values)}."
                )
        if not isinstance(params.labels, jax.core.Tracer):
            check_labels(self.hierarchy, params.labels)
        if self.mode == "agent" and self.eval_size > samples:
            raise ValueError(
                f"`eval_size` should be at most {samples}, the number of samples. "
                f"Found {self.eval_size}."
            )
        order_key, judge_key = jax.random.split(key)
        zero, zeros = jnp.zeros((), jnp.int32), jnp.zeros(self.batch_size, jnp.int32)
        order = epoch_indices(order_key, samples, self.batch_size).astype(jnp.int32)
        judged = epoch_indices(judge_key, samples, min(self.eval_size, samples))
        judged = judged.astype(jnp.int32)
        return EnvState(params.main, order, zero, zero, zeros, zeros, judged)

    def _decode(self, action, label):
        """The label inside its block, and the weight class."""
        if not self.weighted:
            return self.hierarchy.inside(action, label), jnp.zeros_like(label)
        given = self.hierarchy.inside(action[..., 0], label)
        weight_class = action[..., 1].astype(jnp.int32)
        return given, jnp.clip(weight_class, 0, self.num_weights - 1)

    def _now(self, state, params):
        """The image that is next, and its main label."""
        # After the last batch there is no next: its last image stays in view.
        over = state.batch >= state.order.shape[0]
        at = jnp.where(over, self.batch_size - 1, state.position)
        index = self.indices(state)[at]
        return params.images[index], params.labels[index].astype(jnp.int32)

    def _look(self, state, params) -> Observation:
        return Observation(*self._now(state, params))

    def _look_batch(self, state, params) -> Observation:
        index = self.indices(state)
        return Observation(params.images[index], params.labels[index].astype(jnp.int32))

    def _train(self, state: EnvState, params: EnvParams):
        """One step of the main network on the batch, and the parts of the reward.

        Nothing where the episode is over: there is no batch to train on.
        """
        index, going_on = self.indices(state), state.batch < state.order.shape[0]
        factors = None
        if self.weighted:
            factors = weight_factor(
                state.weight_classes,
                num_classes=self.num_weights,
                formula=self.weight_formula,
            )
        targets = _targets(params, index)
        batch = MainBatch(params.images[index], targets, state.given, factors)
        main, _ = self.task.step(state.main, batch)
        loss = entropy = jnp.zeros((), jnp.float32)
        if self.mode == "agent":
            loss = self._evaluate(main, state, params)
            used = jax.nn.one_hot(state.given, self.hierarchy.num_labels)
            entropy = batch_entropy(used).astype(jnp.float32)
        if self.mode == "agent" and self.restore == "batch":
            main = params.main
        state = state._replace(
            main=jax.tree.map(
                lambda new, old: jnp.where(going_on, new, old), main, state.main
            ),
            batch=state.batch + going_on.astype(jnp.int32),
            position=jnp.zeros((), jnp.int32),
        )
        zero = jnp.zeros((), jnp.float32)
        loss, entropy = (jnp.where(going_on, x, zero) for x in (loss, entropy))
        return state, going_on, loss, entropy

    def _evaluate(self, main, state, params) -> Float[Array, ""]:
        """The primary loss on the images whose turn it is."""
        drawn = state.judged[state.batch % state.judged.shape[0]]
        loss = self.task.evaluate(main, params.images[drawn], _targets(params, drawn))
        return loss.astype(jnp.float32)

    def _result(self, state, observation, trained: Bool[Array, ""], loss, entropy):
        reward = -loss + self.entropy_weight * entropy  # Eq. 4; 0 where not trained
        over = state.batch >= state.order.shape[0]
        info: dict[str, Any] = {"trained": trained, "loss": loss, "entropy": entropy}
        return observation, state, reward, over, jnp.zeros_like(over), info


def _targets(params: EnvParams, indices: Int[Array, " B"]) -> Any:
    """What the primary loss takes, of some images."""
    if params.targets is None:
        return params.labels[indices].astype(jnp.int32)
    return params.targets[indices]
