"""Every method against updates made by hand: stacked gradients, NumPy, plain Adam."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

import auxjax
from auxjax.envs import make
from auxjax.rl import METHODS, A2CMethod, make_agent
from auxjax.rl._losses import task_losses
from auxjax.rl._networks import make_networks
from auxjax.rl._policy import make_policy
from auxjax.rl._rollout import play

UPDATES, HORIZON, BETA, OFFSET, RATE = 5, 2, 0.01, 0.02, 1e-3


@pytest.fixture(scope="module")
def config(tiny):
    """All five tasks."""
    return tiny(horizon=HORIZON, beta=BETA, log_offset=OFFSET, learning_rate=RATE)


def begin(agent):
    # Not jitted: the small programs inside are compiled once for all methods.
    return agent.init(jax.random.key(0))


@functools.cache
def updates_of(config, rule=None):
    """Parameters, losses and weights after each update of the agent."""
    agent = make_agent(config, rule)

    def update(state, _):
        state, metrics = agent.update(state)
        flat, _ = ravel_pytree(state.params)
        return state, (flat, metrics.losses, metrics.weights)

    run = jax.jit(lambda state: jax.lax.scan(update, state, length=UPDATES)[1])
    return [np.asarray(x) for x in run(begin(agent))]


class Program:
    """Two parts of an agent on flat parameters: a rollout, and all losses' gradients.

    ∇L of the main task stands above ∇ log(L + offset) of the others, or their ∇L.
    """

    balances = True

    def __init__(self, config):
        env = make(config.env, config.num_envs)
        nets, policy = make_networks(config, env), make_policy(env.action_space)
        params = begin(make_agent(config)).params
        flat, unravel = ravel_pytree(params)
        self.start, length = np.asarray(flat, np.float64), config.rollout_length
        inside = {
            k: jax.tree.map(lambda x, k=k: jnp.full_like(x, k == "encoder"), v)
            for k, v in params.items()
        }
        self.in_encoder = np.asarray(ravel_pytree(inside)[0]) == 1

        @jax.jit
        def rollout(x, env_state, observation, key):
            state = unravel(x), env_state, observation, key
            return play(nets, policy, env, length, *state)

        @jax.jit
        def losses_and_rows(x, batch, key):
            def losses(x):
                found = task_losses(nets, policy, config, unravel(x), batch, key)
                return jnp.stack(list(found.values()))

            return losses(x), jax.jacrev(losses)(x)

        self.rollout, self._losses_and_rows = rollout, losses_and_rows

    def rows(self, x, batch, key):
        found = self._losses_and_rows(jnp.asarray(x, jnp.float32), batch, key)
        losses, rows = (np.array(part, np.float64) for part in found)
        if self.balances:
            rows[1:] /= (losses[1:] + OFFSET)[:, None]
        return losses, rows


def updates_by_hand(program, config):
    """What `updates_of` returns."""
    method, num_tasks = config.method, len(config.tasks)
    n, beta = (1, BETA / 5) if method == "olaux1" else (HORIZON, BETA)
    state = begin(make_agent(config))
    env_state, seen, key, x = state.env_state, state.observation, state.key, None
    x, w, total = program.start, np.ones(num_tasks), np.zeros(num_tasks)
    m, v, past, found = np.zeros_like(x), np.zeros_like(x), [], []
    for t in range(1, UPDATES + 1):
        play_key, loss_key, key = jax.random.split(key, 3)
        theta = jnp.asarray(x, jnp.float32)
        env_state, seen, batch = program.rollout(theta, env_state, seen, play_key)
        losses, rows = program.rows(x, batch, loss_key)
        g = w @ rows
        past = [*past, batch][-HORIZON:]
        if method == "gcs":  # the encoder is what tasks share
            shared = rows * program.in_encoder
            w = np.where(shared @ shared[0] >= 0, 1.0, 0.0)
            g = np.where(program.in_encoder, w @ rows, rows.sum(axis=0))
        elif method in ("olaux", "olaux1"):
            total = total + rows @ rows[0]
        elif method == "olaux-ablation" and t % n == 0:
            wide = jax.tree.map(lambda *b: jnp.concatenate(b, axis=1), *past)
            more = program.rows(x, wide, loss_key)[1]
            total = more @ more[0]
        if t % n == 0:
            w, total = w + beta * total, np.zeros(num_tasks)
        w[0] = 1
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        step = m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-5)
        x = x - RATE * step
        found.append((x, losses, w.copy()))
    return [np.stack(part) for part in zip(*found, strict=True)]


@pytest.fixture(scope="module")
def program(config):
    return Program(config)


def assert_close(found, expected):
    for x, y in zip(found, expected, strict=True):
        assert np.isfinite(x).all()
        np.testing.assert_allclose(x, y, rtol=2e-3, atol=2e-5)


@pytest.mark.parametrize("method", [m for m in METHODS if m not in ("single", "equal")])
def test_a_method_with_all_tasks_by_hand(config, program, method):
    config = dataclasses.replace(config, method=method)
    found, expected = updates_of(config), updates_by_hand(program, config)
    assert_close(found, expected)
    moved = np.flatnonzero(np.ptp(found[2], axis=1) > 0) + 1
    last = {"log_loss": [], "gcs": [1, 2, 3, 4, 5], "olaux1": [1, 2, 3, 4, 5]}
    # Weights move at every second update, and the step made there has the old ones.
    assert moved.tolist() == last.get(method, [2, 3, 4, 5])
    if method in ("olaux", "olaux-ablation"):
        np.testing.assert_array_equal(found[2][1], found[2][2])
        np.testing.assert_array_equal(found[2][3], found[2][4])
        assert (found[2][2] != found[2][3]).any()


@pytest.fixture(scope="module")
def small(tiny):
    """One auxiliary task and no images: compiled in a few seconds."""
    return tiny(
        env="Probe-ObservationAction",
        aux=("inverse",),
        beta=BETA,
        log_offset=OFFSET,
        learning_rate=RATE,
    )


def test_the_main_task_alone(small):
    config = dataclasses.replace(small, method="single")
    assert_close(updates_of(config), updates_by_hand(Program(config), config))


def test_equal_weights_without_logarithms(small):
    """By hand, and as a rule of one's own: the plain sum of the gradients."""
    found = updates_of(small, auxjax.fixed([1.0, 1.0]))
    equal = dataclasses.replace(small, method="equal")
    by_hand = Program(equal)
    by_hand.balances = False
    assert_close(updates_of(equal), updates_by_hand(by_hand, equal))
    assert_close(updates_of(equal), found)
    program, state = Program(small), begin(make_agent(small))
    play_key, loss_key, _ = jax.random.split(state.key, 3)
    x = jnp.asarray(program.start, jnp.float32)
    batch = program.rollout(x, state.env_state, state.observation, play_key)[2]
    losses, rows = program.rows(program.start, batch, loss_key)
    g = rows[0] + rows[1] * (losses[1] + OFFSET)
    expected = program.start - RATE * g / (np.abs(g) + 1e-5)  # Adam's first step
    np.testing.assert_allclose(found[0][0], expected, rtol=2e-3, atol=2e-5)
    assert (found[2] == 1).all()


def test_methods_said_otherwise(small):
    single = dataclasses.replace(small, method="single")
    assert_close(updates_of(single), updates_of(single, auxjax.fixed([1.0])))

    olaux1 = dataclasses.replace(small, method="olaux1")
    otherwise = dataclasses.replace(small, method="olaux", horizon=1, beta=BETA / 5)
    assert_close(updates_of(olaux1), updates_of(otherwise))

    log_loss = dataclasses.replace(small, method="log_loss")
    log = auxjax.scale_by_log_loss("auxiliary", offset=OFFSET)
    rule = optax.chain(log, auxjax.fixed([1.0, 1.0]))
    # The rule that is given counts, not the method.
    assert_close(updates_of(log_loss), [*updates_of(olaux1, rule)[:2], np.ones((5, 2))])


def test_a_chain_that_no_method_names(small):
    log = auxjax.scale_by_log_loss("auxiliary", offset=OFFSET)
    chain = optax.chain(log, auxjax.gcs(num_tasks=2, weighted=True))
    _, losses, weights = updates_of(small, chain)
    assert np.isfinite(losses).all()
    assert (weights[:, 0] == 1).all()
    assert ((weights[:, 1] >= 0) & (weights[:, 1] < 1)).all()
    assert np.ptp(weights[:, 1]) > 0


def test_the_weights_of_a_chain_are_their_product(small):
    """What a row was scaled by in all, as in `auxjax.task_metrics`."""
    clipped = auxjax.scale_by_olaux(n=1, num_tasks=2, learning_rate=-1e4)
    both = optax.chain(
        auxjax.scale_by_fixed([1.0, 0.5]),
        auxjax.scale_by_fixed([1.0, 3.0]),
        auxjax.sum_tasks(),
    )
    found = updates_of(small, both)
    np.testing.assert_array_equal(found[2], [[1.0, 1.5]] * UPDATES)
    assert_close(found, updates_of(small, auxjax.fixed([1.0, 1.5])))
    moving = optax.chain(auxjax.scale_by_fixed([1.0, 0.5]), clipped, auxjax.sum_tasks())
    assert np.ptp(updates_of(small, moving)[2][:, 1]) > 0


def test_a_method_of_ones_own_brings_what_its_rule_takes(small):
    """The agent hands over what a method makes of the rollout and of its past."""
    seen = []

    def update(updates, state, params=None, *, label, **extra):
        seen.append(label)
        assert not extra
        return auxjax.sum_tasks().update(updates, state, params)

    def hand_over(count, rollout, params, losses):
        now = losses(params, rollout)
        assert list(now) == ["main", "inverse"]
        assert rollout.action.shape == (3, 4)
        return count + 1, {"label": now["inverse"]}

    rule = optax.GradientTransformationExtraArgs(auxjax.sum_tasks().init, update)
    method = A2CMethod(rule, lambda rollout: jnp.zeros(rollout.action.shape), hand_over)
    agent = make_agent(small, method)
    state = begin(agent)
    assert state.past.shape == (3, 4)
    after, metrics = jax.jit(agent.update)(state)
    assert (after.past == 1).all()
    assert len(seen) == 1
    plain, _ = jax.jit(make_agent(small, auxjax.sum_tasks()).update)(state)
    for ours, theirs in zip(
        jax.tree.leaves(after.params), jax.tree.leaves(plain.params), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    assert metrics.weights.tolist() == [1, 1]


def test_weights_clipped_at_zero(small):
    # A negative β drives the weights of tasks that help down.
    free = dataclasses.replace(small, method="olaux1", beta=-1e4)
    clipped = dataclasses.replace(free, clip_at_zero=True)
    assert updates_of(free)[2][:, 1].min() < -1
    assert updates_of(clipped)[2][:, 1].min() == 0


def test_the_gradient_is_clipped_before_adam(small):
    config = dataclasses.replace(small, method="single")
    free = updates_of(config)
    tight = updates_of(dataclasses.replace(config, max_grad_norm=1e-4))
    # 1e-4 is not far above Adam's eps, so that the first step is shorter already.
    start = np.asarray(ravel_pytree(begin(make_agent(config)).params)[0])
    first = [np.abs(x[0][0] - start).sum() for x in (free, tight)]
    assert 0 < first[1] < 0.9 * first[0]
