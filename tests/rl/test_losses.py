"""The losses of one rollout against NumPy.

The rollout has 4 steps of 3 worlds: the first ends at its second step and is reset by
its third, the second is cut off at its first step, the third ends at the last step.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import auxjax
from auxjax import auxiliary
from auxjax.envs import Timestep, make
from auxjax.models import embed_action
from auxjax.rl._losses import actor_critic_loss, encode, task_losses
from auxjax.rl._networks import init_params, make_networks, policy_of, value_of
from auxjax.rl._policy import make_policy
from auxjax.rl._rollout import Rollout

T, N = 4, 3
TERMINATED = np.array([[0, 0, 0], [1, 0, 0], [0, 0, 0], [0, 0, 1]], bool)
TRUNCATED = np.array([[0, 1, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]], bool)
VALID = np.array([[1, 1, 1], [1, 1, 1], [0, 1, 1], [1, 1, 1]], bool)
# Where φ(s') belongs to s and a: not at an end, but at the rollout's last step.
FOLLOWS = np.array([[1, 0, 1], [0, 1, 1], [0, 1, 1], [1, 1, 1]], bool)
KEY = jax.random.key(7)


def make_rollout(rng):
    seen = rng.random((T, N, 10, 10, 1)) < 0.3
    successor = rng.random((T, N, 10, 10, 1)) < 0.3
    stays = ~(TERMINATED | TRUNCATED)[:-1, ..., None, None, None]
    successor[:-1] = np.where(stays, seen[1:], successor[:-1])
    step = Timestep(
        observation=np.concatenate([seen[1:], successor[-1:]]),
        next_observation=successor,
        reward=rng.normal(size=(T, N)).astype(np.float32),
        terminated=TERMINATED,
        truncated=TRUNCATED,
        valid=VALID,
        episode_return=np.zeros((T, N), np.float32),
        episode_length=np.zeros((T, N), np.int32),
    )
    action = rng.integers(0, 3, size=(T, N)).astype(np.int32)
    return jax.tree.map(jnp.asarray, Rollout(seen, action, step))


class Case:
    """An agent's networks with parameters that say something, and a rollout."""

    def __init__(self, config):
        self.config = config
        env = make(config.env, N)
        self.nets = make_networks(config, env)
        self.policy = make_policy(env.action_space)
        params = jax.jit(lambda key: init_params(self.nets, env, key))(
            jax.random.key(0)
        )
        # The last layers start near zero: there wrong signs and axes would pass.
        keys = iter(jax.random.split(jax.random.key(1), 100))
        self.params = jax.tree.map(
            lambda x: x + 0.1 * jax.random.normal(next(keys), x.shape), params
        )
        self.rollout = make_rollout(np.random.default_rng(0))
        self.phi = self.encode(self.rollout.observation)
        self.phi_next = self.encode(self.rollout.timestep.next_observation)

    def encode(self, observation):
        return self.nets.encoder.apply(self.params["encoder"], observation)

    def losses(self, params, rollout, config=None):
        return task_losses(
            self.nets, self.policy, config or self.config, params, rollout, KEY
        )

    def main(self, params, rollout, config):
        latents = encode(self.nets, params, rollout)
        return actor_critic_loss(
            self.nets, self.policy, config, params, rollout, latents
        )


@pytest.fixture(scope="module")
def case(tiny):
    return Case(tiny(num_envs=N, rollout_length=T))


@pytest.fixture(scope="module")
def values_and_grads(case):
    """All losses, and the gradient of each."""

    @jax.jit
    def evaluate(params, rollout):
        losses, pull = jax.vjp(lambda p: case.losses(p, rollout), params)
        grads = {}
        for name in losses:
            one = {k: jnp.float32(k == name) for k in losses}
            (grads[name],) = pull(one)
        return losses, grads

    return evaluate


def advantages_by_hand(case, config):
    v, v_next = (
        np.asarray(value_of(case.nets, case.params, x), np.float64)
        for x in (case.phi, case.phi_next)
    )
    reward = np.asarray(case.rollout.timestep.reward, np.float64)
    a = np.zeros((T + 1, N))
    for t in reversed(range(T)):
        delta = reward[t] + config.discount * ~TERMINATED[t] * v_next[t] - v[t]
        goes_on = ~TERMINATED[t] & ~TRUNCATED[t]
        a[t] = delta + config.discount * config.gae_lambda * goes_on * a[t + 1]
    return v, a[:-1], a[:-1] + v


def main_by_hand(case, config):
    v, a, target = advantages_by_hand(case, config)
    if config.normalize_advantage:
        a = (a - a[VALID].mean()) / a[VALID].std()
    logits = np.asarray(policy_of(case.nets, case.params, case.phi), np.float64)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    action = np.asarray(case.rollout.action)
    log_prob = np.take_along_axis(log_p, action[..., None], axis=-1)[..., 0]
    entropy = -(np.exp(log_p) * log_p).sum(-1)
    each = -log_prob * a + config.value_coef * 0.5 * (target - v) ** 2
    each -= config.entropy_coef * entropy
    return config.main_coef * each[VALID].mean()


@pytest.mark.parametrize("normalize", [True, False])
def test_the_main_loss(case, tiny, normalize):
    config = tiny(
        normalize_advantage=normalize,
        main_coef=3.0,
        value_coef=0.7,
        entropy_coef=0.2,
        discount=0.9,
        gae_lambda=0.8,
    )
    found = case.main(case.params, case.rollout, config)
    np.testing.assert_allclose(found, main_by_hand(case, config), rtol=1e-4)


def test_advantages_and_targets_are_constants(case, tiny):
    config = tiny(main_coef=1.0, normalize_advantage=False, entropy_coef=0.0)
    _, a, target = (
        jnp.asarray(x, jnp.float32) for x in advantages_by_hand(case, config)
    )

    def with_constants(params):
        phi = case.nets.encoder.apply(params["encoder"], case.rollout.observation)
        distribution = policy_of(case.nets, params, phi)
        log_prob = case.policy.log_prob(distribution, case.rollout.action)
        error = target - value_of(case.nets, params, phi)
        each = -log_prob * a + config.value_coef * 0.5 * error**2
        return jnp.sum(jnp.where(VALID, each, 0)) / float(VALID.sum())

    found = jax.jit(jax.grad(lambda p: case.main(p, case.rollout, config)))(case.params)
    expected = jax.jit(jax.grad(with_constants))(case.params)
    assert max(float(jnp.abs(x).max()) for x in jax.tree.leaves(expected)) > 0.1
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-5),
        found,
        expected,
    )


def test_names_and_their_order(case, tiny):
    for config, names in (
        (case.config, ["main", *case.config.aux]),
        (tiny(aux=("flow", "inverse")), ["main", "flow", "inverse"]),
        (tiny(method="single"), ["main"]),
    ):
        found = {}  # what `eval_shape` returns has its keys sorted
        shapes = jax.eval_shape(
            lambda c=config, f=found: f.update(
                case.losses(case.params, case.rollout, c)
            )
        )
        assert shapes is None
        assert list(found) == names
        assert {(x.shape, x.dtype.name) for x in found.values()} == {((), "float32")}


def test_the_auxiliary_losses(case, values_and_grads):
    """What stays in each loss is picked out by hand, in NumPy."""
    found, _ = values_and_grads(case.params, case.rollout)
    follows, valid = FOLLOWS.reshape(-1), VALID.reshape(-1)

    def flat(x, keep):
        return jnp.asarray(np.asarray(x).reshape(T * N, *x.shape[2:])[keep])

    def head(task, *inputs):
        return np.asarray(
            case.nets.heads[task].apply(case.params["heads"][task], *inputs),
            np.float64,
        )

    phi, phi_next = flat(case.phi, follows), flat(case.phi_next, follows)
    action = flat(case.rollout.action, follows)
    here = flat(case.rollout.observation, follows)
    there = flat(case.rollout.timestep.next_observation, follows)

    error = head("forward", phi, embed_action(action, 3)) - np.asarray(phi_next)
    np.testing.assert_allclose(found["forward"], (error**2).mean(), rtol=1e-4)

    logits = head("inverse", phi, phi_next)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    taken = log_p[np.arange(len(log_p)), np.asarray(action)]
    np.testing.assert_allclose(found["inverse"], -taken.mean(), rtol=1e-4)

    flow = jnp.asarray(head("flow", phi, phi_next), jnp.float32)
    every = jnp.ones(len(flow), bool)
    expected = auxiliary.optical_flow(flow, here, there, every)
    np.testing.assert_allclose(found["flow"], expected, rtol=1e-4)

    # The other two need no successor: only the reset is left out.
    image = flat(case.rollout.observation, valid)
    error = head("autoencoder", flat(case.phi, valid)) - np.asarray(image)
    np.testing.assert_allclose(found["autoencoder"], (error**2).mean(), rtol=1e-4)

    everything = flat(case.rollout.observation, np.ones(T * N, bool))
    moved, target = auxiliary.random_transform(KEY, everything)
    predicted = head("egomotion", flat(case.phi, valid), case.encode(moved[valid]))
    expected = ((predicted - np.asarray(target)[valid]) ** 2).mean()
    np.testing.assert_allclose(found["egomotion"], expected, rtol=1e-4)


def assert_same(found, expected):
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6),
        found,
        expected,
    )


def test_a_reset_adds_nothing_to_any_loss(case, values_and_grads):
    r, t = case.rollout, case.rollout.timestep
    where = (2, 0)
    other = Rollout(
        observation=r.observation.at[where].set(~r.observation[where]),
        action=r.action.at[where].set((r.action[where] + 1) % 3),
        timestep=t._replace(
            reward=t.reward.at[where].set(1e3),
            next_observation=t.next_observation.at[where].set(True),
        ),
    )
    assert_same(values_and_grads(case.params, other), values_and_grads(case.params, r))
    # The same change one row below is seen by every loss.
    counted = Rollout(
        observation=r.observation.at[3, 0].set(~r.observation[3, 0]),
        action=r.action.at[3, 0].set((r.action[3, 0] + 1) % 3),
        timestep=t._replace(reward=t.reward.at[3, 0].set(1e3)),
    )
    before, _ = values_and_grads(case.params, r)
    after, _ = values_and_grads(case.params, counted)
    assert all(abs(float(after[k] - before[k])) > 1e-5 for k in before)


def test_what_came_before_an_end_is_not_predicted(case, values_and_grads):
    """The last pictures of episodes that ended before the rollout's last step."""
    t = case.rollout.timestep
    junk = t.next_observation.at[1, 0].set(True)  # after a termination
    before = values_and_grads(case.params, case.rollout)
    after = values_and_grads(
        case.params, case.rollout._replace(timestep=t._replace(next_observation=junk))
    )
    assert_same(after, before)
    # After a cut the picture has one use: its value is bootstrapped from.
    junk = t.next_observation.at[0, 1].set(True)
    after = values_and_grads(
        case.params, case.rollout._replace(timestep=t._replace(next_observation=junk))
    )
    changed = {k for k in before[0] if float(after[0][k]) != float(before[0][k])}
    assert changed == {"main"}


def test_only_the_encoder_is_shared(case):
    found = []  # of Python's bools: traced, nothing has to be compiled
    jax.eval_shape(
        lambda p: found.append(auxjax.shared_mask(case.losses, p, case.rollout)),
        case.params,
    )
    (shared,) = found
    assert all(jax.tree.leaves(shared["encoder"]))
    own = {k: v for k, v in shared.items() if k != "encoder"}
    assert len(jax.tree.leaves(own)) > 10
    assert not any(jax.tree.leaves(own))


def test_each_loss_moves_the_encoder_and_its_own_head(case, values_and_grads):
    _, grads = values_and_grads(case.params, case.rollout)

    def moves(tree):
        return any(bool(jnp.any(x != 0)) for x in jax.tree.leaves(tree))

    for loss, grad in grads.items():
        assert moves(grad["encoder"]), loss
        assert moves(grad["policy"]) == moves(grad["value"]) == (loss == "main")
        assert [task for task in grad["heads"] if moves(grad["heads"][task])] == [
            task for task in case.config.aux if task == loss
        ]
