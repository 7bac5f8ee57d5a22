"""The labelling environment for agents that speak Gymnasium."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np

from auxjax._extras import require
from auxjax.labelling._environment import EnvParams, LabellingEnv


def gymnasium_env(env: LabellingEnv, params: EnvParams, *, seed: int = 0) -> Any:
    """The environment as a `gymnasium.Env`, one image per step.

    Observations are a dict of `image` (`Box`) and `label` (`Discrete(C)`); actions
    `Discrete(K)`, or `MultiDiscrete([K, num_weights])` where the agent also chooses
    weights. Beside Gymnasium's own interface it has:

    | | |
    |---|---|
    | `reset(options={"mode": "main"})` | an episode without rewards, which trains the
      main network on an agent that does not learn; `"agent"` is the other mode, and
      episodes without this option have that of `env` |
    | `keep_main()` | the main network of this episode becomes the canonical one; where
      it is new, as after a vectorised environment's own reset, that of the one before |
    | `params` | the data and the canonical main network |
    | `state` | of the episode |

    Args:
      env: the environment.
      params: the data and the main network to start from.
      seed: of episodes for which `reset` names no other.

    Returns:
      The environment. Each step is one jitted call; `env.step_batch` is faster by far
      for whoever can label a batch at once.

    Raises:
      ImportError: Gymnasium is not installed.
      ValueError: the data do not fit the hierarchy, or are fewer than a batch or than
        `eval_size`; from `step`, an action that is none.
      RuntimeError: from `step`, no episode is going on; from `keep_main`, there is no
        trained network.

    Example:
      >>> import jax, jax.numpy as jnp, optax
      >>> from auxjax.labelling import EnvParams, LabellingEnv, MainTask
      >>> from auxjax.labelling import gymnasium_env, Hierarchy, many_headed
      >>> from auxjax.models import encoder, linear_head
      >>> net = many_headed(encoder((3,), features=4), linear_head(2), linear_head(4))
      >>> env = LabellingEnv(MainTask(net, optax.sgd(0.1)), Hierarchy(2, 2),
      ...                    batch_size=2, eval_size=4)
      >>> images = jnp.linspace(0, 1, 12).reshape(4, 3)
      >>> main = env.task.init(jax.random.key(0), images)
      >>> world = gymnasium_env(env, EnvParams(images, jnp.array([0, 1, 0, 1]), main))
      >>> observation, info = world.reset(seed=1)
      >>> [world.step(0)[2] for _ in range(4)]  # terminated
      [False, False, False, True]
    """
    gymnasium = require("gymnasium", "rl", "`gymnasium_env`")
    return _wrapper(gymnasium)(env, params, seed)


def _spaces(gymnasium: Any, env: LabellingEnv, params: EnvParams) -> tuple[Any, Any]:
    """The observation space and the action space."""
    images = np.asarray(params.images)
    is_bytes = images.dtype == np.uint8
    low, high = (0, 255) if is_bytes else (float(images.min()), float(images.max()))
    spaces = gymnasium.spaces
    box = spaces.Box(low, high, images.shape[1:], images.dtype)
    seen = spaces.Dict({"image": box, "label": spaces.Discrete(env.hierarchy.classes)})
    labels = env.hierarchy.num_labels
    if env.weighted:
        return seen, spaces.MultiDiscrete([labels, env.num_weights])
    return seen, spaces.Discrete(labels)


def _wrapper(gymnasium: Any) -> type:
    """The class, made where Gymnasium is at hand."""

    class LabellingGymnasium(gymnasium.Env):
        """See `gymnasium_env`."""

        metadata = {"render_modes": []}  # noqa: RUF012

        def __init__(self, env: LabellingEnv, params: EnvParams, seed: int):
            self.params = params
            self.state: Any = None
            self.render_mode = None
            self.observation_space, self.action_space = _spaces(gymnasium, env, params)
            self._key = jax.random.key(seed)
            self._steps = {
                mode: _jitted(dataclasses.replace(env, mode=mode))
                for mode in ("agent", "main")
            }
            self._env, self._mode, self._finished = env, env.mode, None
            # Values are looked at here: inside the jitted functions they are unknown.
            jax.eval_shape(lambda: env.reset(self._key, params))

        def reset(self, *, seed: int | None = None, options: dict | None = None):
            """A new epoch, from the canonical main network."""
            super().reset(seed=seed)
            if seed is not None:
                self._key = jax.random.key(seed)
            mode = (options or {}).get("mode", self._env.mode)
            if mode not in self._steps:
                raise ValueError(f'`mode` should be "agent" or "main". Found {mode!r}.')
            self._mode = mode
            self._key, key = jax.random.split(self._key)
            seen, self.state = self._steps[mode][0](key, self.params)
            return _on_host(seen), {}

        def step(self, action):
            """Labels the image that was last seen."""
            if self.state is None or self._over():
                raise RuntimeError("`reset` should be called before `step`.")
            if not self.action_space.contains(action):
                raise ValueError(
                    f"`action` should be of {self.action_space}. Found {action!r}."
                )
            action = np.asarray(action, np.int32)
            seen, self.state, reward, over, cut, info = self._steps[self._mode][1](
                self.state, action, self.params
            )
            if over:
                self._finished = self.state.main
            info = {name: np.asarray(value).item() for name, value in info.items()}
            return _on_host(seen), float(reward), bool(over), bool(cut), info

        def keep_main(self) -> None:
            """The main network as it is now becomes the canonical one."""
            main = None
            if self.state is not None:
                is_new = int(self.state.batch) == int(self.state.position) == 0
                main = self._finished if is_new else self.state.main
            if main is None:
                raise RuntimeError("There is no trained main network to keep yet.")
            self.params, self._finished = self.params._replace(main=main), None

        def _over(self) -> bool:
            return int(self.state.batch) >= self.state.order.shape[0]

    return LabellingGymnasium


def _jitted(env: LabellingEnv) -> tuple[Any, Any]:
    """`reset(key, params)` and `step(state, action, params)`."""

    def step(state, action, params):
        return env.step(jax.random.key(0), state, action, params)

    return jax.jit(env.reset), jax.jit(step)


def _on_host(seen: Any) -> dict[str, Any]:
    """An observation as Gymnasium's spaces want it."""
    return {"image": np.array(seen.image), "label": np.int64(seen.label)}
