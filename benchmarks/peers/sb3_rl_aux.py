"""RL-AUX as its paper runs it: a stable-baselines3 agent around a PyTorch network.

Needs a virtual environment of its own:

    pip install torch==2.13.0 stable-baselines3==2.9.2 gymnasium==1.4.0

`benchmarks/labelling.py` starts it, with a `.npz` of images and labels and a JSON
object of sizes. Each line on stdin is a JSON object with a number of threads; the
answer is a line with the seconds of one alternation: an epoch in which the agent
labels, the main network learns and PPO updates the agent, then an epoch in which the
main network learns from the agent's deterministic labels. One image is one step of a
Gymnasium environment, as in the paper.
"""

import copy
import json
import sys
import time

import gymnasium
import numpy as np
import stable_baselines3
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.policies import MultiInputActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn


def trunk(sizes):
    """`auxjax.models.encoder` without pooling, or `auxjax.models.cnn`."""
    side, before, layers = sizes["side"], 1, []
    for filters in sizes["channels"]:
        if sizes["network"] == "small":
            layers += [nn.Conv2d(before, filters, 3), nn.ReLU()]
            side -= 2
        else:
            layers += [nn.Conv2d(before, filters, 3, padding=1), nn.MaxPool2d(2)]
            layers += [nn.ReLU()]
            side //= 2
        before = filters
    width = side * side * before
    layers += [nn.Flatten()]
    if sizes["network"] != "small":
        layers += [nn.Linear(width, sizes["hidden"]), nn.ReLU()]
        width = sizes["hidden"]
    return nn.Sequential(*layers, nn.Linear(width, sizes["features"]), nn.ReLU())


def focal(logits, labels):
    """−(1 − p)² log p, the mean."""
    log_p = torch.log_softmax(logits, 1).gather(1, labels[:, None])[:, 0]
    return -((1 - log_p.exp()) ** 2 * log_p).mean()


class Main(nn.Module):
    """The main network: a trunk with two heads."""

    def __init__(self, sizes):
        """Builds it."""
        super().__init__()
        self.trunk = trunk(sizes)
        self.primary = nn.Linear(sizes["features"], sizes["classes"])
        self.auxiliary = nn.Linear(sizes["features"], sizes["classes"] * sizes["psi"])

    def forward(self, images):
        """Both tasks' logits."""
        features = self.trunk(images)
        return self.primary(features), self.auxiliary(features)


class Labelling(gymnasium.Env):
    """An episode is an epoch; after a batch is labelled, the main network learns."""

    def __init__(self, images, labels, sizes):
        """Float images `[n, 1, H, W]`, int labels `[n]`."""
        self.images, self.labels, self.sizes = images, labels, sizes
        self.observation_space = gymnasium.spaces.Dict(
            image=gymnasium.spaces.Box(0, 1, images.shape[1:], np.float32),
            label=gymnasium.spaces.Discrete(sizes["classes"]),
        )
        self.action_space = gymnasium.spaces.Discrete(sizes["psi"])
        self.main = Main(sizes)
        self.optimizer = torch.optim.SGD(
            self.main.parameters(), lr=sizes["learning_rate"]
        )
        self.canonical = copy.deepcopy(self.main.state_dict())
        self.mode = "agent"

    def reset(self, *, seed=None, options=None):
        """A new order; the main network as it was."""
        super().reset(seed=seed)
        self.main.load_state_dict(self.canonical)
        self.order = self.np_random.permutation(len(self.labels))
        self.at, self.given = 0, []
        return self._look(), {}

    def step(self, action):
        """Labels one image."""
        label = self.labels[self.order[self.at]]
        self.given.append(label * self.sizes["psi"] + int(action))
        self.at += 1
        reward = 0.0
        if len(self.given) == self.sizes["batch_size"]:
            reward = self._train()
            self.given = []
        over = self.at + self.sizes["batch_size"] > len(self.labels) and not self.given
        return self._look(), reward, over, False, {}

    def keep(self):
        """The main network as it is becomes the one that episodes start from."""
        self.canonical = copy.deepcopy(self.main.state_dict())

    def _look(self):
        index = self.order[min(self.at, len(self.order) - 1)]
        return {"image": self.images[index], "label": self.labels[index]}

    def _batch(self, index):
        return torch.from_numpy(self.images[index]), torch.from_numpy(
            self.labels[index]
        )

    def _train(self):
        """A step of the main network, then the reward; 0 where no agent learns."""
        index = self.order[self.at - self.sizes["batch_size"] : self.at]
        images, labels = self._batch(index)
        given = torch.tensor(np.array(self.given))
        primary, auxiliary = self.main(images)
        self.optimizer.zero_grad()
        (focal(primary, labels) + focal(auxiliary, given)).backward()
        self.optimizer.step()
        if self.mode == "main":
            return 0.0
        drawn = self.np_random.choice(
            len(self.labels), self.sizes["eval_size"], replace=False
        )
        images, labels = self._batch(drawn)
        with torch.no_grad():
            loss = focal(self.main(images)[0], labels)
        share = np.bincount(self.given) / len(self.given)
        share = share[share > 0]
        return -float(loss) - float(np.sum(share * np.log(share)))


class Features(BaseFeaturesExtractor):
    """The trunk's features, and the main label one-hot behind them."""

    def __init__(self, space, sizes):
        """Builds the layers."""
        super().__init__(space, features_dim=sizes["features"] + sizes["classes"])
        self.trunk = trunk(sizes)

    def forward(self, observation):
        """`[B, features + classes]`."""
        label = observation["label"].flatten(1)  # a rollout's has an axis more
        return torch.cat([self.trunk(observation["image"]), label], 1)


class BlockHead(nn.Module):
    """The logits of the main label's own block: the masked softmax."""

    def __init__(self, sizes):
        """One linear layer."""
        super().__init__()
        self.sizes = sizes
        self.linear = nn.Linear(sizes["features"], sizes["classes"] * sizes["psi"])

    def forward(self, latent):
        """`[B, psi]`."""
        features, label = latent.split(
            [self.sizes["features"], self.sizes["classes"]], dim=1
        )
        table = self.linear(features).view(-1, self.sizes["classes"], self.sizes["psi"])
        return (table * label[:, :, None]).sum(1)


class Policy(MultiInputActorCriticPolicy):
    """Heads that stand on the features directly; labels only of the own block."""

    def __init__(self, *args, sizes, **options):
        """Keeps the sizes for `_build`."""
        self.sizes = sizes
        super().__init__(*args, **options)

    def _build(self, lr_schedule):
        super()._build(lr_schedule)
        self.action_net = BlockHead(self.sizes)
        self.optimizer = self.optimizer_class(
            self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs
        )


def make(images, labels, sizes):
    """An alternation without arguments, which returns its seconds."""
    torch.manual_seed(0)
    env = Labelling(images, labels, sizes)
    steps = len(labels) // sizes["batch_size"] * sizes["batch_size"]
    agent = PPO(
        Policy,
        env,
        n_steps=min(steps, sizes["rollout_batches"] * sizes["batch_size"]),
        batch_size=sizes["minibatch_size"],
        n_epochs=sizes["ppo_epochs"],
        learning_rate=sizes["ppo_learning_rate"],
        ent_coef=sizes["ppo_entropy"],
        policy_kwargs={
            "sizes": sizes,
            "features_extractor_class": Features,
            "features_extractor_kwargs": {"sizes": sizes},
            "net_arch": [],
            "normalize_images": False,
        },
        seed=0,
        device="cpu",
    )

    def alternate():
        begin = time.perf_counter()
        env.mode = "agent"
        agent.learn(total_timesteps=steps)
        between = time.perf_counter()
        env.mode = "main"
        observation, over = env.reset()[0], False
        while not over:
            action, _ = agent.predict(observation, deterministic=True)
            observation, _, over, _, _ = env.step(action)
        env.keep()
        end = time.perf_counter()
        return {"seconds": end - begin, "agent": between - begin, "images": steps}

    return alternate


def main():
    """Answers until stdin ends."""
    with np.load(sys.argv[1]) as arrays:
        images = arrays["images"].astype(np.float32).transpose(0, 3, 1, 2) / 255
        labels = arrays["labels"].astype(np.int64)
    alternate = make(images, labels, json.loads(sys.argv[2]))
    for line in sys.stdin:
        torch.set_num_threads(json.loads(line)["threads"])
        versions = {
            "torch": torch.__version__,
            "stable_baselines3": stable_baselines3.__version__,
        }
        print(json.dumps(alternate() | versions), flush=True)


if __name__ == "__main__":
    main()
