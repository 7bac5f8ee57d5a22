"""Auto-λ against the whole algorithm in NumPy, in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import auxjax

STEPS, SIZES = 6, (2, 3)  # θ is two leaves
ALPHA, MOMENTUM, DECAY, BETA = 0.05, 0.9, 0.03, 0.4


class Quadratics:
    """L_i(θ) = ½ (θ − a_i)ᵀ A_i (θ − a_i) + 1, its centre moved by the batch."""

    def __init__(self, num_tasks):
        rng = np.random.default_rng(num_tasks)
        size = sum(SIZES)
        roots = rng.normal(size=(num_tasks, size, size))
        self.num_tasks = num_tasks
        self.matrices = roots @ roots.transpose(0, 2, 1) / size
        self.centres = rng.normal(size=(num_tasks, size))
        self.batches, self.meta_batches = 0.3 * rng.normal(size=(2, STEPS, size))
        self.start = rng.normal(size=size)

    def values_and_rows(self, theta, batch):
        """NumPy: losses `[T]` and gradients `[T, 5]`."""
        off = theta - self.centres - batch
        pulled = np.einsum("tij,tj->ti", self.matrices, off)
        return 0.5 * np.sum(off * pulled, axis=1) + 1.0, pulled

    def losses(self, params, batch):
        """The same in JAX, of a pytree of two leaves."""
        theta = jnp.concatenate([params["u"], params["v"]])
        off = theta[None] - jnp.asarray(self.centres) - batch[None]
        pulled = jnp.einsum("tij,tj->ti", jnp.asarray(self.matrices), off)
        return 0.5 * jnp.sum(off * pulled, axis=1) + 1.0

    def params(self):
        u, v = np.split(self.start, [SIZES[0]])
        return {"u": jnp.asarray(u), "v": jnp.asarray(v)}


problem = functools.cache(Quadratics)


class NumpySGD:
    """buf ← μ buf + g + wd θ;  θ ← θ − α buf."""

    def __init__(self, momentum=0.0, decay=0.0):
        self.momentum, self.decay = momentum, decay

    def init(self, theta):
        return np.zeros_like(theta)

    def update(self, gradient, buf, theta):
        buf = self.momentum * buf + gradient + self.decay * theta
        return -ALPHA * buf, buf


class NumpyAdam:
    """Kingma and Ba's Algorithm 1."""

    def __init__(self, rate):
        self.rate = rate

    def init(self, w):
        return 0, np.zeros_like(w), np.zeros_like(w)

    def update(self, g, state, w):
        del w
        t, m, v = state
        t, m, v = t + 1, 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        m_hat, v_hat = m / (1 - 0.9**t), v / (1 - 0.999**t)
        return -self.rate * m_hat / (np.sqrt(v_hat) + 1e-8), (t, m, v)


class NumpyDescent:
    """Eq. 5 as it is printed."""

    def init(self, w):
        return ()

    def update(self, g, state, w):
        return -BETA * g, state


def total(rows):
    return rows.sum(0)


def algorithm(
    problem,
    primary=(0,),
    *,
    theta_optimizer=None,
    lambda_optimizer=None,
    before=lambda values, rows: rows,
    after=lambda rows, weighted: weighted,
    aggregate=total,
    reuse=False,
    drawn=None,
    init=0.1,
):
    """Returns θ, λ and ∂M(θ′)/∂λ after each step.

    `before` rescales the rows before Auto-λ sees them, `after` the weighted ones;
    `drawn` `[STEPS, T]` are the tasks that look ahead.
    """
    theta_optimizer = theta_optimizer or NumpySGD()
    lambda_optimizer = lambda_optimizer or NumpyDescent()
    theta, lam = problem.start.copy(), np.full(problem.num_tasks, init)
    theta_state, lambda_state = theta_optimizer.init(theta), lambda_optimizer.init(lam)
    drawn = np.ones((STEPS, problem.num_tasks)) if drawn is None else drawn
    out = []
    for batch, other, now in zip(
        problem.batches, problem.meta_batches, drawn, strict=True
    ):
        rows = before(*problem.values_and_rows(theta, batch))
        # Eq. 4: the step that the optimizer would make now.
        virtual, virtual_state = theta_optimizer.update(
            (lam * now) @ rows, theta_state, theta
        )
        d = problem.values_and_rows(theta + virtual, other)[1][list(primary)].sum(0)
        slope = -ALPHA * (rows @ d) * now
        step, lambda_state = lambda_optimizer.update(slope, lambda_state, lam)
        lam = lam + step * now  # Eq. 5
        if reuse:
            step, theta_state = virtual, virtual_state
        else:  # Eq. 6: on the same batch, with the new λ
            gradient = aggregate(after(rows, lam[:, None] * rows))
            step, theta_state = theta_optimizer.update(gradient, theta_state, theta)
        theta = theta + step
        out.append((theta, lam, slope))
    return [np.array(x) for x in zip(*out, strict=True)]


def library(problem, tx, *, stacked=False, steps=STEPS):
    """The same run by auxjax, in one compiled scan; the last state too."""

    def body(carry, batches):
        params, state = carry
        batch, other = batches
        extra = {}
        if stacked:
            values, updates = auxjax.task_grads(problem.losses)(params, batch)
            extra = {"losses": values}
        else:
            updates = auxjax.task_jacobian(problem.losses, params, batch)
        updates, state = tx.update(
            updates, state, params,
            meta_losses=lambda p: problem.losses(p, other), **extra,
        )  # fmt: skip
        params = optax.apply_updates(params, updates)
        theta = jnp.concatenate([params["u"], params["v"]])
        weights = optax.tree.get(state, "weights", filtering=is_auto)
        slope = optax.tree.get(state, "meta_gradient")
        return (params, state), (theta, weights, slope)

    @jax.jit
    def run():
        params = problem.params()
        batches = jnp.asarray(problem.batches), jnp.asarray(problem.meta_batches)
        batches = jax.tree.map(lambda x: x[jnp.arange(steps) % STEPS], batches)
        (_, state), out = jax.lax.scan(body, (params, tx.init(params)), batches)
        return out, state

    return run()


def is_auto(path, value):
    """Whether a leaf called `weights` is Auto-λ's (gating has weights as well)."""
    del value
    return any(getattr(p, "tuple_name", "") == "AutoLambdaState" for p in path)


def close(found, expected, tol=1e-10):
    for name, a, b in zip(("θ", "λ", "slope"), found, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=tol, rtol=tol, err_msg=name)


def descent():
    return optax.sgd(BETA)


def momentum_and_decay():
    return optax.chain(
        optax.add_decayed_weights(DECAY), optax.sgd(ALPHA, momentum=MOMENTUM)
    )


def numpy_momentum_and_decay():
    return NumpySGD(MOMENTUM, DECAY)


LAMBDA_OPTIMIZERS = {
    "sgd": (NumpyDescent, descent),
    "adam": (lambda: NumpyAdam(0.02), lambda: optax.adam(0.02)),
    "default": (lambda: NumpyAdam(1e-4), lambda: None),
}


@pytest.mark.parametrize(
    ("num_tasks", "primary", "indices", "of_lambda"),
    [
        (2, 0, (0,), "sgd"),
        (2, 0, (0,), "default"),
        (3, 2, (2,), "adam"),
        (3, (0, 2), (0, 2), "sgd"),
        (12, "all", tuple(range(12)), "adam"),
    ],
)
def test_around_momentum_and_weight_decay(x64, num_tasks, primary, indices, of_lambda):
    theirs, mine = LAMBDA_OPTIMIZERS[of_lambda]
    p = problem(num_tasks)
    expected = algorithm(
        p,
        indices,
        theta_optimizer=numpy_momentum_and_decay(),
        lambda_optimizer=theirs(),
    )
    tx = auxjax.autolambda(
        momentum_and_decay(),
        num_tasks=num_tasks,
        primary=primary,
        lambda_optimizer=mine(),
    )
    found, state = library(p, tx)
    assert np.ptp(expected[1]) > (3e-4 if of_lambda == "default" else 0.05)
    close(found, expected)
    np.testing.assert_array_equal(state.weights, found[1][-1])
    assert (state.count, state.skipped) == (STEPS, 0)


@pytest.mark.parametrize(
    ("num_tasks", "primary", "indices"), [(2, "all", (0, 1)), (3, 0, (0,))]
)
def test_with_a_plain_lookahead_in_a_chain(x64, num_tasks, primary, indices):
    p = problem(num_tasks)
    rule = auxjax.scale_by_autolambda(
        ALPHA, num_tasks=num_tasks, primary=primary, lambda_optimizer=descent(),
        init=0.3,
    )  # fmt: skip
    found, _ = library(p, optax.chain(rule, auxjax.sum_tasks(), optax.sgd(ALPHA)))
    close(found, algorithm(p, indices, init=0.3))


def test_the_lookaheads_schedule_counts_its_own_steps(x64):
    """Learning rates of 0 look nowhere: M(θ′) does not depend on λ."""
    schedule = lambda count: jnp.where(count % 2 == 0, ALPHA, 0.0)  # noqa: E731
    p = problem(3)
    rule = auxjax.scale_by_autolambda(schedule, num_tasks=3, lambda_optimizer=descent())
    found, _ = library(p, optax.chain(rule, auxjax.sum_tasks(), optax.sgd(ALPHA)))
    assert np.all(found[2][1::2] == 0.0)
    assert np.all(found[2][::2] != 0.0)


def test_reuse_lookahead_takes_the_step_that_was_looked_at(x64):
    p = problem(3)
    make = functools.partial(
        auxjax.autolambda, momentum_and_decay(), num_tasks=3, lambda_optimizer=descent()
    )
    expected = algorithm(p, theta_optimizer=numpy_momentum_and_decay(), reuse=True)
    found, _ = library(p, make(reuse_lookahead=True))
    close(found, expected)
    usual, _ = library(p, make())
    assert np.max(np.abs(usual[0] - found[0])) > 1e-4


def test_reuse_lookahead_is_the_optimizers_step_with_the_old_weights(x64):
    """The updates and the optimizer's state are exactly those of the old λ."""
    p = problem(2)
    params, optimizer = p.params(), momentum_and_decay()
    tx = auxjax.autolambda(
        optimizer, reuse_lookahead=True, lambda_optimizer=descent(), init=0.3
    )

    @jax.jit
    def run(batch, other):
        jac = auxjax.task_jacobian(p.losses, params, batch)
        state = tx.init(params)
        got = tx.update(jac, state, params, meta_losses=lambda q: p.losses(q, other))
        old = jac.vjp(jnp.full(2, 0.3))
        return got, optimizer.update(old, state.opt_state, params)

    (updates, state), expected = run(p.batches[0], p.meta_batches[0])
    jax.tree.map(np.testing.assert_array_equal, (updates, state.opt_state), expected)
    assert np.all(np.abs(state.weights - 0.3) > 1e-3)


def surgery(rows, minimum):
    """PCGrad, each row against the others in order, summed."""
    fixed = []
    for i, row in enumerate(rows):
        for j, other in enumerate(rows):
            if i != j:
                row = row - minimum(row @ other, 0.0) / (other @ other) * other
        fixed.append(row)
    return sum(fixed)


def by_surgery():
    """The same as an aggregator, which counts its calls."""

    def update(updates, count, params=None, **extra):
        rows = auxjax.as_jacobian(updates, params).rows()
        flat = jnp.concatenate([rows["u"], rows["v"]], axis=1)
        u, v = jnp.split(surgery(list(flat), jnp.minimum), [SIZES[0]])
        return {"u": u, "v": v}, count + 1

    return optax.GradientTransformationExtraArgs(
        lambda params: jnp.zeros((), jnp.int32), update
    )


@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize("num_tasks", [2, 3])
def test_the_aggregator_makes_the_step_and_not_the_lookahead(x64, num_tasks, stacked):
    p = problem(num_tasks)
    tx = auxjax.autolambda(
        momentum_and_decay(),
        aggregator=by_surgery(),
        num_tasks=num_tasks,
        lambda_optimizer=descent(),
        init=1.0,
    )
    expected = algorithm(
        p,
        theta_optimizer=numpy_momentum_and_decay(),
        aggregate=lambda rows: surgery(rows, np.minimum),
        init=1.0,
    )
    found, state = library(p, tx, stacked=stacked)
    close(found, expected)
    assert state.aggregator_state == STEPS
    plain = algorithm(p, theta_optimizer=numpy_momentum_and_decay(), init=1.0)
    assert np.max(np.abs(plain[0] - expected[0])) > 1e-3


def divide_by_loss(values, rows):
    return rows / values[:, None]


def gate(rows, weighted):
    """Algorithm 1 of gradient cosine similarity, on the weighted rows."""
    del rows
    on = weighted @ weighted[0] >= 0
    on[0] = True
    return weighted * on[:, None]


@pytest.mark.parametrize("kind", ["exact", "finite_difference", "stacked"])
@pytest.mark.parametrize("whole", [False, True])
def test_after_log_losses(x64, whole, kind):
    """The rows are of log L; M is of L. On quadratics differences are exact."""
    num_tasks = 2 if whole else 3
    p = problem(num_tasks)
    options = {"num_tasks": num_tasks, "lambda_optimizer": descent()}
    if kind == "finite_difference":
        options["meta_gradient"] = kind
    if whole:
        rules = [auxjax.autolambda(optax.sgd(ALPHA), **options)]
    else:
        rule = auxjax.scale_by_autolambda(ALPHA, **options)
        rules = [rule, auxjax.sum_tasks(), optax.sgd(ALPHA)]
    tx = optax.chain(auxjax.scale_by_log_loss(), *rules)
    found, _ = library(p, tx, stacked=kind == "stacked")
    close(found, algorithm(p, before=divide_by_loss))


@pytest.mark.parametrize("num_tasks", [2, 3])
def test_before_gradient_cosine_similarity(x64, num_tasks):
    p = problem(num_tasks)
    tx = optax.chain(
        auxjax.scale_by_autolambda(
            ALPHA, num_tasks=num_tasks, lambda_optimizer=descent()
        ),
        auxjax.scale_by_gcs(num_tasks=num_tasks),
        auxjax.sum_tasks(),
        optax.sgd(ALPHA),
    )
    expected = algorithm(p, after=gate)
    close(library(p, tx)[0], expected)
    if num_tasks == 3:
        assert np.max(np.abs(algorithm(p)[0] - expected[0])) > 1e-3  # it was gated


@pytest.mark.parametrize("stacked", [False, True])
def test_an_aggregator_that_needs_the_losses_gets_them(x64, stacked):
    p = problem(3)
    balanced = optax.chain(auxjax.scale_by_log_loss(), auxjax.sum_tasks())
    tx = auxjax.autolambda(
        optax.sgd(ALPHA), aggregator=balanced, num_tasks=3, lambda_optimizer=descent()
    )
    values = lambda theta, batch: p.values_and_rows(theta, batch)[0]  # noqa: E731
    found, _ = library(p, tx, stacked=stacked)
    theta, lam = p.start, np.full(3, 0.1)
    for i, (batch, other) in enumerate(zip(p.batches, p.meta_batches, strict=True)):
        rows = p.values_and_rows(theta, batch)[1]
        d = p.values_and_rows(theta - ALPHA * lam @ rows, other)[1][0]
        lam = lam + BETA * ALPHA * (rows @ d)
        theta = theta - ALPHA * (lam / values(theta, batch)) @ rows
        np.testing.assert_allclose(found[1][i], lam, rtol=1e-10)
        np.testing.assert_allclose(found[0][i], theta, rtol=1e-10)


@pytest.mark.parametrize(("num_tasks", "reuse"), [(2, False), (3, False), (3, True)])
def test_stacked_gradients_are_as_good_as_the_jacobian(x64, num_tasks, reuse):
    p = problem(num_tasks)
    tx = auxjax.autolambda(
        momentum_and_decay(),
        reuse_lookahead=reuse,
        num_tasks=num_tasks,
        lambda_optimizer=descent(),
    )
    close(library(p, tx, stacked=True)[0], library(p, tx)[0], 1e-12)


def sampled(per_step, num_tasks=5, steps=STEPS, **options):
    options = {"lambda_optimizer": optax.adam(0.02), **options}
    rule = auxjax.scale_by_autolambda(
        ALPHA, num_tasks=num_tasks, tasks_per_step=per_step, **options
    )
    tx = optax.chain(rule, auxjax.sum_tasks(), optax.sgd(ALPHA))
    return library(problem(num_tasks), tx, steps=steps)


def test_only_the_tasks_drawn_look_ahead_and_learn(x64):
    """λ = 1 at the start: what the lookahead leaves out it would feel."""
    (theta, lam, slope), _ = sampled(2, lambda_optimizer=descent(), init=1.0)
    drawn = np.asarray(slope != 0.0, np.float64)
    np.testing.assert_array_equal(drawn.sum(axis=1), np.full(STEPS, 2.0))
    assert len(np.unique(drawn, axis=0)) > 1
    close((theta, lam, slope), algorithm(problem(5), drawn=drawn, init=1.0))


def test_the_others_and_their_moments_stay_exactly(x64):
    p = problem(5)
    tx = auxjax.autolambda(optax.sgd(ALPHA), num_tasks=5, tasks_per_step=2)
    params = p.params()

    @jax.jit
    def step(params, state, batch, other):
        jac = auxjax.task_jacobian(p.losses, params, batch)
        updates, state = tx.update(
            jac, state, params, meta_losses=lambda q: p.losses(q, other)
        )
        return optax.apply_updates(params, updates), state

    state = tx.init(params)
    for t, (batch, other) in enumerate(zip(p.batches, p.meta_batches, strict=True)):
        old = state
        params, state = step(params, old, batch, other)
        rests = state.meta_gradient == 0.0
        assert rests.sum() == 3
        adam, old_adam = state.lambda_state[0], old.lambda_state[0]
        assert state.count == t + 1
        np.testing.assert_array_equal(adam.count - old_adam.count, ~rests)
        for new, before in (  # each task has a copy of the optimizer, and its entry
            (state.weights, old.weights),
            (jnp.diagonal(adam.mu), jnp.diagonal(old_adam.mu)),
            (jnp.diagonal(adam.nu), jnp.diagonal(old_adam.nu)),
        ):
            np.testing.assert_array_equal(new[rests], before[rests])
            assert np.all(new[~rests] != before[~rests])


def test_each_task_is_drawn_its_share_of_the_time(x64):
    steps = 1000
    (_, _, slope), _ = sampled(2, steps=steps)
    drawn = np.mean(slope != 0.0, axis=0)
    sigma = np.sqrt(0.4 * 0.6 / steps)
    np.testing.assert_allclose(drawn, np.full(5, 0.4), atol=4 * sigma)
    together = np.mean((slope[:, 0] != 0) & (slope[:, 1] != 0))
    np.testing.assert_allclose(together, 0.1, atol=4 * np.sqrt(0.09 / steps))


def test_another_key_draws_others(x64):
    default, zero, one = (
        sampled(2, key=key)[0][2] != 0
        for key in (None, jax.random.key(0), jax.random.key(1))
    )
    np.testing.assert_array_equal(default, zero)
    assert np.any(default != one)


def test_all_tasks_drawn_is_no_draw(x64):
    for a, b in zip(
        jax.tree.leaves(sampled(5)), jax.tree.leaves(sampled(None)), strict=True
    ):
        np.testing.assert_array_equal(a, b)
