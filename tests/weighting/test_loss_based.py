"""DWA, GLS, IMTL-L, smooth Tchebycheff, FAMO and random weights, against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import auxjax

TASKS, STEPS, ALPHA, BETA = 3, 9, 0.05, 0.3
CENTRES = np.array([[1.0, -2.0], [0.5, 0.5], [-1.0, 3.0]])
SIZES = np.array([1.0, 4.0, 0.1])
START = np.array([0.2, -0.3])


def losses(params, shift=0.0):
    """Quadratics of very different sizes; `shift` is the batch."""
    off = params[None] + shift - jnp.asarray(CENTRES, params.dtype)
    return jnp.asarray(SIZES, params.dtype) * jnp.sum(off**2, axis=1) + 0.1


def values_and_rows(theta, shift):
    off = theta + shift - CENTRES
    return SIZES * np.sum(off**2, axis=1) + 0.1, 2 * SIZES[:, None] * off


def soft(x):
    e = np.exp(x - np.max(x))
    return e / e.sum()


class Dwa:
    """Eq. 7 with epochs of `period` steps."""

    def __init__(self, period=1, temperature=2.0):
        self.period, self.temperature = period, temperature
        self.seen = []

    def weights(self, t, values, rows, theta):
        epoch = t // self.period
        means = [
            np.mean(self.seen[e * self.period : (e + 1) * self.period], axis=0)
            for e in range(epoch)
        ]
        self.seen.append(values)
        ratio = means[-1] / means[-2] if epoch >= 2 else np.ones(TASKS)
        e = np.exp(ratio / self.temperature)
        return TASKS * e / e.sum()


class Gls:
    def weights(self, t, values, rows, theta):
        total = np.prod(values) ** (1 / TASKS)
        return total / (TASKS * values)


class ImtlL:
    """exp(s) L − s."""

    def __init__(self, start=0.0):
        self.s = np.full(TASKS, start)

    def weights(self, t, values, rows, theta):
        w = np.exp(self.s)
        self.s = self.s - BETA * (w * values - 1)
        return w


class Stch:
    def __init__(self, mu=1.0, wish=None, ideal=0.0, nadir=None):
        self.mu, self.ideal, self.nadir = mu, ideal, nadir
        self.wish = np.full(TASKS, 1 / TASKS) if wish is None else np.array(wish)

    def weights(self, t, values, rows, theta):
        span = 1.0 if self.nadir is None else np.array(self.nadir) - self.ideal
        f = (values - self.ideal) / span
        e = np.exp(self.wish * f / self.mu)
        return self.wish * e / e.sum() / span


class StchOfLogs:
    """The released code: logs for `warmup` steps; the last of them give the nadir."""

    def __init__(self, mu, warmup, measure):
        self.mu, self.warmup, self.measure, self.seen = mu, warmup, measure, []

    def weights(self, t, values, rows, theta):
        self.seen.append(values)
        if t < self.warmup:
            return 1 / values
        nadir = np.mean(self.seen[self.warmup - self.measure : self.warmup], axis=0)
        return soft(np.log(values / nadir) / TASKS / self.mu) / TASKS / values


class Famo:
    """Algorithm 1; the losses after a step are of its own batch where `exact`."""

    def __init__(self, exact, decay=1e-3, bound=0.0, adam=False):
        self.exact, self.decay, self.bound, self.adam = exact, decay, bound, adam
        self.xi, self.last, self.count = np.zeros(TASKS), None, 0
        self.m = self.v = np.zeros(TASKS)

    def step(self, g):
        if not self.adam:
            return -BETA * g
        self.count += 1
        self.m, self.v = 0.9 * self.m + 0.1 * g, 0.999 * self.v + 0.001 * g**2
        m_hat = self.m / (1 - 0.9**self.count)
        v_hat = self.v / (1 - 0.999**self.count)
        return -0.025 * m_hat / (np.sqrt(v_hat) + 1e-8)

    def weights(self, t, values, rows, theta):
        if self.last is not None:
            old, shift = self.last
            new = values_and_rows(theta, shift)[0] if self.exact else values
            z = soft(self.xi)
            jacobian = np.diag(z) - np.outer(z, z)
            delta = jacobian.T @ (np.log(old - self.bound) - np.log(new - self.bound))
            self.xi = self.xi + self.step(delta + self.decay * self.xi)
        self.last = (values, 0.1 * t)
        z = soft(self.xi) / (values - self.bound)
        return z / z.sum()


sgd = optax.sgd(BETA)
RULES = {
    "dwa": (Dwa, lambda: auxjax.dwa(TASKS)),
    "dwa period": (
        lambda: Dwa(2, 0.3),
        lambda: auxjax.dwa(TASKS, period=2, temperature=0.3),
    ),
    "gls": (Gls, lambda: auxjax.gls(TASKS)),
    "imtl_l": (ImtlL, lambda: auxjax.imtl_l(TASKS, optimizer=sgd)),
    "imtl_l start": (
        lambda: ImtlL(-0.7),
        lambda: auxjax.imtl_l(TASKS, optimizer=sgd, init_log_scale=-0.7),
    ),
    "stch": (Stch, lambda: auxjax.stch(TASKS)),
    "stch preference": (
        lambda: Stch(0.2, [0.5, 0.0, 2.0], np.array([0.1, 0.0, -1.0])),
        lambda: auxjax.stch(
            TASKS, mu=0.2, preference=[0.5, 0.0, 2.0], ideal=[0.1, 0.0, -1.0]
        ),
    ),
    "stch nadir": (
        lambda: Stch(0.1, nadir=[9.0, 20.0, 4.0]),
        lambda: auxjax.stch(TASKS, mu=0.1, nadir=[9.0, 20.0, 4.0]),
    ),
    "stch log": (
        lambda: StchOfLogs(0.3, 4, 2),
        lambda: auxjax.stch(TASKS, mu=0.3, log=True, warmup=4, nadir_steps=2),
    ),
    "stch log, whole warm-up": (
        lambda: StchOfLogs(0.3, 3, 3),
        lambda: auxjax.stch(TASKS, mu=0.3, log=True, warmup=3),
    ),
    "famo": (
        lambda: Famo(False),
        lambda: auxjax.famo(TASKS, optimizer=sgd),
    ),
    "famo exact": (
        lambda: Famo(True, 0.1, 0.05),
        lambda: auxjax.famo(
            TASKS, optimizer=sgd, decay=0.1, lower_bound=[0.05] * TASKS
        ),
    ),
    "famo adam": (lambda: Famo(True, adam=True), lambda: auxjax.famo(TASKS)),
}
every_rule = pytest.mark.parametrize("rule", RULES)


def algorithm(rule):
    """The parameters and the weights of each step."""
    method, theta, found = RULES[rule][0](), START.copy(), []
    for t in range(STEPS):
        values, rows = values_and_rows(theta, 0.1 * t)
        w = method.weights(t, values, rows, theta)
        theta = theta - ALPHA * w @ rows
        found.append((theta, w))
    return [np.array(x) for x in zip(*found, strict=True)]


def library(rule, *, kind="jacobian", jit=True):
    tx = optax.chain(RULES[rule][1](), optax.sgd(ALPHA))
    exact = rule in ("famo exact", "famo adam")

    def body(carry, t):
        params, state = carry
        extra = {}
        if kind == "stacked":
            values, updates = auxjax.task_grads(losses)(params, 0.1 * t)
            extra = {"losses": values}
        else:
            updates = auxjax.task_jacobian(losses, params, 0.1 * t)
        if exact:  # the batch of before, at the parameters of now
            after = lambda p: losses(p, 0.1 * (t - 1))  # noqa: E731
            extra["next_losses"] = after if kind == "jacobian" else after(params)
        before = optax.tree.get(state, "weights")
        updates, state = tx.update(updates, state, params, **extra)
        params = optax.apply_updates(params, updates)
        after = optax.tree.get(state, "weights")
        used = before if rule.startswith("imtl_l") else after
        return (params, state), (params, used)

    params = jnp.asarray(START)
    carry, steps = (params, tx.init(params)), jnp.arange(STEPS, dtype=params.dtype)
    if jit:
        return jax.jit(lambda: jax.lax.scan(body, carry, steps)[1])()
    found = []
    for t in steps:
        carry, out = body(carry, t)
        found.append(out)
    return [jnp.stack(x) for x in zip(*found, strict=True)]


@every_rule
def test_equals_the_paper(x64, rule):
    expected = algorithm(rule)
    assert np.ptp(expected[1][-1]) > 0.01  # the weights have come apart
    for a, b in zip(library(rule), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


@every_rule
def test_stacked_gradients_are_as_good_and_jit_is_not_needed(x64, rule):
    for a, b in zip(
        library(rule, kind="stacked", jit=False), library(rule), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13)


def scales(tx, values, state=None, **extra):
    """The row scales of one update, and the state after it."""
    values = jnp.asarray(values)
    rows = jnp.ones((values.shape[0], 1), values.dtype)
    state = tx.init(jnp.zeros(1, values.dtype)) if state is None else state
    updates, state = tx.update(rows, state, losses=values, **extra)
    return updates[:, 0], state


def test_gls_is_the_gradient_of_the_geometric_mean(x64):
    params = jnp.asarray(START)
    jac = auxjax.task_jacobian(losses, params)
    tx = auxjax.gls(TASKS)
    total, _ = tx.update(jac, tx.init(params), params)
    expected = jax.grad(lambda p: jnp.prod(losses(p)) ** (1 / TASKS))(params)
    np.testing.assert_allclose(total, expected, rtol=1e-12)


def test_gls_of_forty_losses_overflows_nowhere():
    found, _ = scales(auxjax.scale_by_gls(40), jnp.full(40, 1e-30, jnp.float32))
    np.testing.assert_allclose(found, 1 / 40, rtol=1e-4)


@pytest.mark.parametrize("mu", [0.05, 1.0, 20.0])
@pytest.mark.parametrize("log", [False, True])
def test_stch_is_the_gradient_of_the_smooth_maximum(x64, mu, log):
    params, wish = jnp.asarray(START), jnp.array([0.2, 0.5, 0.3])
    ideal, nadir = jnp.array([0.05, -1.0, 0.0]), jnp.array([6.0, 30.0, 2.0])

    def smooth(p):
        f = (losses(p) - ideal) / (nadir - ideal)
        f = jnp.log(f) if log else f
        return mu * jax.nn.logsumexp(wish * f / mu)

    jac = auxjax.task_jacobian(losses, params)
    tx = auxjax.stch(TASKS, mu=mu, preference=wish, ideal=ideal, nadir=nadir, log=log)
    total, _ = tx.update(jac, tx.init(params), params)
    np.testing.assert_allclose(total, jax.grad(smooth)(params), rtol=1e-10)


def test_dwa_takes_no_ratio_that_overflows():
    """1e30 after 1e-30 is infinite in float32: it says nothing, and counts as 1."""
    tx = auxjax.scale_by_dwa(2)
    state = tx.init(jnp.zeros(2))
    for first in (1e-30, 1e30, 1.0):
        losses = jnp.array([first, 1.0], jnp.float32)
        found, state = tx.update(jnp.eye(2), state, losses=losses)
    np.testing.assert_allclose(np.diagonal(found), [1.0, 1.0], rtol=1e-6)


@pytest.mark.parametrize("size", [2e-8, 1e-30, 3e20])
def test_stch_measures_the_nadir_of_losses_of_any_size(size):
    """The mean starts at the first loss: summed from 1, 2e-8 is lost in float32."""
    tx = auxjax.scale_by_stch(2, log=True, warmup=3, nadir_steps=2)
    state = tx.init(jnp.zeros(2))
    np.testing.assert_array_equal(state.nadir, [1.0, 1.0])  # `ideal` + 1: none yet
    for factor in (9.0, 1.0, 3.0, 2.0):  # the mean of 1 and 3, then the loss itself
        losses = jnp.array([size * factor, factor], jnp.float32)
        found, state = tx.update(jnp.eye(2), state, losses=losses)
    np.testing.assert_allclose(state.nadir / np.float32([size, 1]), 2.0, rtol=1e-6)
    # Both are at their nadir: λ softmax(0) / L, with λ = ½.
    expected = 0.25 / np.asarray(losses)
    np.testing.assert_allclose(np.diagonal(found), expected, rtol=1e-5)


def test_stch_becomes_the_maximum_and_the_mean():
    values = jnp.array([1.0, 3.0, 2.0])
    found, _ = scales(auxjax.scale_by_stch(3, mu=1e-3, preference=[1, 1, 1]), values)
    np.testing.assert_allclose(found, [0, 1, 0], atol=1e-6)
    found, _ = scales(auxjax.scale_by_stch(3, mu=1e6, preference=[1, 1, 1]), values)
    np.testing.assert_allclose(found, 1 / 3, rtol=1e-4)


def test_imtl_l_comes_to_rest_where_every_scaled_loss_is_one():
    values = np.array([0.2, 1.0, 5.0], np.float32)
    tx = auxjax.scale_by_imtl_l(3, optimizer=optax.sgd(0.5))

    def body(state, _):
        return scales(tx, values, state)[1], None

    start = tx.init(jnp.zeros(1))
    state, _ = jax.jit(lambda: jax.lax.scan(body, start, None, length=200))()
    np.testing.assert_allclose(state.weights * values, 1, rtol=1e-5)


def test_famo_weights_sum_to_one_and_ignore_the_units(x64):
    tx = auxjax.scale_by_famo(3)
    found, state = scales(tx, jnp.array([1e-8, 1.0, 1e9]))
    np.testing.assert_allclose(jnp.sum(found), 1, rtol=1e-12)
    assert np.all(np.asarray(state.logits) == 0)
    # The first update has no step to close, whatever `next_losses` says.
    again, other = scales(tx, jnp.array([1e-8, 1.0, 1e9]), next_losses=jnp.ones(3))
    np.testing.assert_array_equal(found, again)
    jax.tree.map(np.testing.assert_array_equal, state, other)


@pytest.mark.parametrize("distribution", ["normal", "dirichlet"])
def test_rlw_draws_as_it_says(x64, distribution):
    """Moments over many draws: Dirichlet(1, 1, 1) has variance 1/18, mean 1/3."""
    tx = auxjax.scale_by_rlw(3, distribution=distribution, key=jax.random.key(3))

    def body(state, _):
        w, state = scales(tx, jnp.ones(3), state)
        return state, w

    many = 20_000
    start = tx.init(jnp.zeros(1))
    state, w = jax.jit(lambda: jax.lax.scan(body, start, None, length=many))()
    assert int(state.count) == many
    w = np.asarray(w)
    np.testing.assert_allclose(w.sum(1), 1, rtol=1e-12)
    np.testing.assert_allclose(w.mean(0), 1 / 3, atol=0.01)
    if distribution == "dirichlet":
        np.testing.assert_allclose(w.var(0), 1 / 18, rtol=0.05)
        # w₁ is Beta(1, 2): P(w₁ < ½) = 1 − (½)² = ¾.
        np.testing.assert_allclose(np.mean(w < 0.5, axis=0), 0.75, atol=0.01)
    else:  # log wᵢ − log w_j is N(0, 2)
        gaps = np.log(w[:, 0] / w[:, 1])
        np.testing.assert_allclose([gaps.mean(), gaps.var()], [0, 2], atol=0.06)
    again = scales(tx, jnp.ones(3))[0]
    np.testing.assert_array_equal(again, w[0])  # the key says it all
    np.testing.assert_array_equal(state.weights, w[-1])


def test_rlw_of_other_keys_and_steps_differ():
    one = auxjax.scale_by_rlw(2)
    first, state = scales(one, jnp.ones(2))
    second, _ = scales(one, jnp.ones(2), state)
    other, _ = scales(auxjax.scale_by_rlw(2, key=jax.random.key(1)), jnp.ones(2))
    assert len({float(w[0]) for w in (first, second, other)}) == 3


def test_equal_leaves_the_rows_alone_and_logs_ones():
    rows = jnp.asarray(CENTRES, jnp.float32)
    tx = auxjax.scale_by_equal(TASKS)
    updates, state = tx.update(rows, tx.init(jnp.zeros(2)))
    np.testing.assert_array_equal(updates, rows)
    np.testing.assert_array_equal(state.weights, np.ones(TASKS))
    total, _ = auxjax.equal(TASKS).update(rows, auxjax.equal(TASKS).init(rows[0]))
    np.testing.assert_allclose(total, CENTRES.sum(0), rtol=1e-6)
