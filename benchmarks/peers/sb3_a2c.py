"""How fast stable-baselines3's A2C learns Breakout-MinAtar on a CPU.

Needs a virtual environment of its own:

    pip install torch==2.13.0 stable-baselines3==2.9.2 gymnasium==1.4.0 minatar==1.0.15
    python benchmarks/peers/sb3_a2c.py            # the setting that was fastest for us
    python benchmarks/peers/sb3_a2c.py --sweep    # every setting; finds it again

The network is auxjax's A2C's: sixteen 3x3 filters, 128 hidden units, linear policy and
value heads. One frame is one step of one environment, learning included. The last line
on stdout is the result as JSON.
"""

import argparse
import json
import time

import gymnasium
import numpy as np
import torch
from minatar.gym import BaseEnv
from stable_baselines3 import A2C
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv

VECTORS = {"dummy": DummyVecEnv, "subproc": SubprocVecEnv}


class ChannelsFirst(gymnasium.ObservationWrapper):
    """MinAtar's `[10, 10, C]` bools as `[C, 10, 10]` floats, as torch wants them."""

    def __init__(self, env):
        """Declares the new shape."""
        super().__init__(env)
        height, width, channels = env.observation_space.shape
        self.observation_space = gymnasium.spaces.Box(
            0, 1, (channels, height, width), np.float32
        )

    def observation(self, observation):
        """Turns one observation round."""
        return np.moveaxis(observation, -1, 0).astype(np.float32)


class Features(BaseFeaturesExtractor):
    """Conv 3x3 with 16 filters, ReLU, flatten, 128 units, ReLU."""

    def __init__(self, space):
        """Builds the layers for images `[C, H, W]`."""
        super().__init__(space, features_dim=128)
        channels, height, width = space.shape
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(channels, 16, 3),
            torch.nn.ReLU(),
            torch.nn.Flatten(),
            torch.nn.Linear(16 * (height - 2) * (width - 2), 128),
            torch.nn.ReLU(),
        )

    def forward(self, observations):
        """`[B, C, H, W]` -> `[B, 128]`."""
        return self.layers(observations)


class Stopwatch(BaseCallback):
    """Counts frames after a warm-up, and stops when the time is over."""

    def __init__(self, warm_up: float, seconds: float):
        """Both in seconds."""
        super().__init__()
        self.warm_up, self.seconds = warm_up, seconds
        self.begin = self.start = time.perf_counter()
        self.first_frame, self.frames_per_second = 0, 0.0

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        # At the boundary of two rollouts the last update is done: time whole ones.
        now = time.perf_counter()
        if not self.first_frame:
            if now - self.begin >= self.warm_up and self.num_timesteps:
                self.start, self.first_frame = now, self.num_timesteps
        elif now - self.start >= self.seconds:
            frames = self.num_timesteps - self.first_frame
            self.frames_per_second = frames / (now - self.start)
            raise StopIteration


def make_env():
    """The game in gymnax's variant: minimal actions, none repeated.

    Without `gymnasium.make` there are no checking wrappers to slow the peer down.
    """
    game = BaseEnv("breakout", use_minimal_action_set=True, sticky_action_prob=0.0)
    return ChannelsFirst(game)


def measure(options, vector: str, threads: int | None) -> dict:
    """Trains for a while and returns frames/s; `threads` None: torch's own choice."""
    if threads is not None:
        torch.set_num_threads(threads)
    envs = VECTORS[vector]([make_env] * options.num_envs)
    agent = A2C(
        "MlpPolicy",
        envs,
        n_steps=options.n_steps,
        policy_kwargs={
            "features_extractor_class": Features,
            "net_arch": [],  # the heads stand on the features directly
            "normalize_images": False,
        },
        seed=options.seed,
        device="cpu",
    )
    watch = Stopwatch(options.warm_up, options.seconds)
    try:
        agent.learn(total_timesteps=10**12, callback=watch)
    except StopIteration:
        pass
    finally:
        envs.close()
    return {
        "frames_per_second": round(watch.frames_per_second, 1),
        "vector": vector,
        "torch_threads": torch.get_num_threads(),
    }


def main():
    """Measures one setting, or with `--sweep` all of them; prints the best as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num-envs", type=int, default=16)
    parser.add_argument("--n-steps", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--warm-up", type=float, default=2.0)
    parser.add_argument("--vector", choices=sorted(VECTORS), default="dummy")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sweep", action="store_true", help="every setting; best wins")
    options = parser.parse_args()
    settings = [(options.vector, options.threads)]
    if options.sweep:
        # Torch's own number of threads first: it cannot be asked for later.
        settings = [(v, t) for t in (None, 1, 2) for v in VECTORS]
    results = []
    for vector, threads in settings:
        results.append(measure(options, vector, threads))
        print(json.dumps(results[-1]), flush=True)
    best = max(results, key=lambda result: result["frames_per_second"])
    shared = {"num_envs": options.num_envs, "n_steps": options.n_steps}
    versions = {"torch": torch.__version__}
    print(json.dumps(best | shared | versions))


if __name__ == "__main__":
    main()
