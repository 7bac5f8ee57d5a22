"""Parameters as people hold them: modules, None, keys, integers, complex, half."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import auxjax
from auxjax import as_jacobian, task_jacobian

TASKS = 3
X = jnp.asarray(np.random.default_rng(0).normal(size=(4, 3)), jnp.float32)


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Module:
    """A pytree that can be called, as those of Equinox and NNX are."""

    w: jax.Array
    heads: list
    bias: None = None

    def __call__(self, x):
        return jnp.tanh(x @ self.w)


def start(constants=True):
    rng = np.random.default_rng(1)
    w, heads = rng.normal(size=(3, 2)), rng.normal(size=(TASKS, 2))
    net = Module(jnp.asarray(w, jnp.float32), [*jnp.asarray(heads, jnp.float32)])
    if not constants:
        return net
    others = {"key": jax.random.key(7), "steps": jnp.array(2), "flag": jnp.array(True)}
    return {"net": net, "nothing": None, **others}


def samples(params, x):
    if isinstance(params, Module):
        params = {"net": params, "key": jax.random.key(7), "steps": jnp.array(2)}
    noise = jax.random.uniform(params["key"], (2,), minval=0.5)  # as dropout has it
    z = params["net"](x) * noise[None] / params["steps"].astype(jnp.float32)
    return [(z @ head - i) ** 2 for i, head in enumerate(params["net"].heads)]


def losses(params, x=X):
    return tuple(jnp.mean(loss) for loss in samples(params, x))


GIVEN = {
    "meta_losses": lambda p: losses(p, X[::-1]),
    "sample_losses": lambda p: samples(p, X),
}
RULES = {
    **{
        name: functools.partial(getattr(auxjax, name), num_tasks=TASKS, **options)
        for name, options in {
            "olaux": {"n": 1, "learning_rate": 0.1},
            "gcs": {"weighted": True},
            "gradnorm": {},
            "modo": {},
            "slgrad": {},
            "auxilearn": {"every": 1},
            "auxinash": {"every": 1},
            "scale_by_autolambda": {"lookahead": 0.1},
        }.items()
    },
    "olaux smoothing": lambda: auxjax.olaux(1, TASKS, 0.1, smoothing=2),
    "gcs atari": lambda: auxjax.gcs(True, 0.02, 0.9, True, num_tasks=TASKS),
    **{
        name: functools.partial(
            getattr(auxjax, name),
            **({"num_tasks": TASKS} if name in ("moco", "sdmgrad") else {}),
        )
        for name in (
            *("sum_tasks", "mgda", "pcgrad", "graddrop", "cagrad", "sdmgrad"),
            *("krum", "moco", "trimmed_mean"),
        )
    },
}


def needs(name):
    wanted = {
        "slgrad": ("meta_losses", "sample_losses"),
        "auxilearn": ("meta_losses",),
        "auxinash": ("meta_losses",),
        "scale_by_autolambda": ("meta_losses",),
    }
    return {key: GIVEN[key] for key in wanted.get(name, ())}


@functools.cache
def updated(name, constants):
    tx = RULES[name]()
    if name.startswith("scale_by"):
        tx = optax.chain(tx, auxjax.sum_tasks())
    params = start(constants)

    @jax.jit
    def step(params, state):
        jac = task_jacobian(losses, params)
        return tx.update(jac, state, params, **needs(name))

    return step(params, tx.init(params))


@pytest.mark.parametrize("name", RULES)
def test_a_module_among_constants_through_every_rule(name):
    """Masks of modules are no functions; None, keys, integers and bools stay."""
    expected, _ = updated(name, False)
    found, state = updated(name, True)
    assert isinstance(found["net"], Module)
    for a, b in zip(
        jax.tree.leaves(found["net"]), jax.tree.leaves(expected), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    assert found["nothing"] is None
    for constant in ("key", "steps", "flag"):
        assert found[constant].dtype == jax.dtypes.float0
    params = start()
    moved = auxjax.apply_updates(params, found)
    assert moved["steps"] == 2
    assert moved["key"] is params["key"]
    np.testing.assert_allclose(moved["net"].w, params["net"].w + found["net"].w)
    jax.block_until_ready(state)


@pytest.mark.parametrize("reuse", [False, True])
def test_autolambda_with_adam_and_constants(reuse):
    """The optimizer inside sees what can move."""
    found = []
    for constants in (False, True):
        params = start(constants)
        tx = auxjax.autolambda(optax.adam(0.01), num_tasks=TASKS, reuse_lookahead=reuse)
        state = tx.init(params)
        with jax.numpy_dtype_promotion("standard"):
            for _ in range(2):
                jac = task_jacobian(losses, params)
                updates, state = tx.update(
                    jac, state, params, meta_losses=GIVEN["meta_losses"]
                )
                params = auxjax.apply_updates(params, updates)
        found.append((params["net"] if constants else params, state.weights))
    for a, b in zip(*map(jax.tree.leaves, found), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


@pytest.mark.parametrize("name", ["mgda", "graddrop"])
def test_groups_by_a_module_of_labels(name):
    labels = Module("trunk", ["a", "b", "c"])
    tx = getattr(auxjax, name)(groups=labels)
    by_function = getattr(auxjax, name)(groups=lambda params: labels)
    params = start(False)
    jac = task_jacobian(losses, params)
    one, other = (t.update(jac, t.init(params), params)[0] for t in (tx, by_function))
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_module_that_makes_a_mask_is_called():
    class Maker(Module):
        def __call__(self, params):
            return Module(True, [False] * TASKS)

    jax.tree_util.register_dataclass(Maker, ["w", "heads", "bias"], [])
    params = start(False)
    jac = task_jacobian(losses, params)
    mask = Module(True, [False] * TASKS)
    maker = Maker(jnp.zeros(1), [])
    np.testing.assert_array_equal(jac.norms(maker), jac.norms(mask))
    np.testing.assert_array_equal(jac.norms(lambda p: mask), jac.norms(mask))


# Complex parameters: pairs of real ones.


def real_and_complex():
    """The same three losses of one complex and of two real vectors."""
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(2, 4)).astype(np.float32)
    mixing = (rng.normal(size=(3, 4)) + 1j * rng.normal(size=(3, 4))).astype("F")

    def of_complex(p):
        found = jnp.sum(mixing * jnp.tanh(p["z"])[None], axis=1)
        return tuple(jnp.real(f) + 0.1 * jnp.abs(f) ** 2 for f in found)

    def of_real(p):
        return of_complex({"z": jax.lax.complex(p["a"], p["b"])})

    return of_complex, {"z": jnp.asarray(a + 1j * b)}, of_real, {"a": a, "b": b}


def pair(gradient):
    """JAX's gradient of a complex number is the conjugate of the way up."""
    return {"a": jnp.real(gradient["z"]), "b": -jnp.imag(gradient["z"])}


def test_opposed_complex_gradients():
    jac = task_jacobian(lambda z: (z.imag.sum(), -z.imag.sum()), jnp.array(1j))
    for each in (jac, jac.materialize(), as_jacobian(jac.rows(), jnp.array(1j))):
        np.testing.assert_array_equal(each.gramian(), [[1, -1], [-1, 1]])
        np.testing.assert_array_equal(each.gramian_row(0), [1, -1])
        np.testing.assert_array_equal(each.gramian_row(1), [-1, 1])
        np.testing.assert_array_equal(each.norms(), [1, 1])


@pytest.mark.parametrize("kind", ["lazy", "materialized", "stacked"])
def test_complex_parameters_are_pairs_of_real_ones(kind):
    of_complex, p, of_real, q = real_and_complex()
    jac, right = task_jacobian(of_complex, p), task_jacobian(of_real, q)
    if kind == "materialized":
        jac = jac.materialize()
    if kind == "stacked":
        jac = as_jacobian(jac.rows(), p)
    w = jnp.array([1.0, -2.0, 0.5])
    close = functools.partial(np.testing.assert_allclose, rtol=2e-5, atol=1e-5)
    for change in (lambda j: j, lambda j: j.scale(w)):
        a, b = change(jac), change(right)
        close(a.gramian(), b.gramian())
        close(a.gramian_row(1), b.gramian_row(1))
        close(a.norms(), b.norms())
        jax.tree.map(close, pair(a.vjp(w)), b.vjp(w))
        jax.tree.map(close, pair(a.rows()), b.rows())
        step = {"z": jnp.asarray([1 + 2j, 0.5j, -1.0, 2 - 1j], jnp.complex64)}
        both = {"a": step["z"].real, "b": step["z"].imag}
        close(a.jvp(step), b.jvp(both))
    if kind == "lazy":
        difference = jac.jvp_by_difference(step, epsilon=1e-2)
        np.testing.assert_allclose(difference, right.jvp(both), rtol=2e-2)
        keys = jax.random.split(jax.random.key(0), 4000)
        draw = jax.vmap(lambda k: jac.norms(sketch=1, key=k))
        ratio = np.mean(np.square(draw(keys)), axis=0) / np.square(jac.norms())
        np.testing.assert_allclose(ratio, 1, atol=4 * np.sqrt(2 / 4000))


COMPLEX = {
    "olaux smoothing": lambda: auxjax.olaux(1, 3, 0.1, smoothing=2),
    "gcs per layer": lambda: auxjax.gcs(True, 0.0, 0.5, True, num_tasks=3),
    "cagrad": auxjax.cagrad,
    "graddrop": lambda: auxjax.graddrop(leak=[1.0, 1.0, 1.0]),
}


@pytest.mark.parametrize("name", COMPLEX)
@pytest.mark.parametrize("kind", ["lazy", "stacked"])
def test_rules_on_complex_parameters(name, kind):
    of_complex, p, of_real, q = real_and_complex()
    both = []
    for losses_of, params in ((of_complex, p), (of_real, q)):
        tx, found = COMPLEX[name](), []
        state = tx.init(params)
        jac = task_jacobian(losses_of, params)
        updates = jac if kind == "lazy" else jac.rows()
        if name == "gcs per layer" and losses_of is of_real:
            # One layer, as the complex one is.
            def joined(v, losses_of=losses_of):
                return losses_of({"a": v[:, 0], "b": v[:, 1]})

            params = jnp.stack([q["a"], q["b"]], axis=1)
            state = tx.init(params)
            jac = task_jacobian(joined, params)
            updates = jac if kind == "lazy" else jac.rows()
        for _ in range(2):
            step, state = tx.update(updates, state, params, losses=jac.losses)
            found.append(step)
        if name == "gcs per layer" and losses_of is of_real:
            found = [{"a": s[:, 0], "b": s[:, 1]} for s in found]
        both.append(found)
    for a, b in zip(*both, strict=True):
        for x, y in zip(*map(jax.tree.leaves, (pair(a), b)), strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)


# Half precision.


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("size", [1e-4, 200.0])
@pytest.mark.parametrize("num_tasks", [3, 6])
def test_small_and_large_gradients_in_half_precision(dtype, size, num_tasks):
    """As in float32: products of 1e-8 and of 40,000 are none for float16."""
    table = np.outer([size, -size, *[size / 2] * (num_tasks - 2)], np.ones(64))
    exact = np.asarray(jnp.asarray(table, dtype), np.float64)

    def linear(p):
        return tuple(jnp.sum(jnp.asarray(row, p.dtype) * p) for row in table)

    params = jnp.zeros(64, dtype)
    jac = task_jacobian(linear, params)
    gramian = exact @ exact.T
    tolerance = {"float16": 2e-3, "bfloat16": 1e-2}[dtype]
    close = functools.partial(np.testing.assert_allclose, rtol=tolerance)
    close(jac.gramian_row(0), gramian[0])
    close(jac.jvp(jnp.asarray(exact[0], dtype)), gramian[0])
    close(jac.jvp(jnp.asarray(exact[0] * 1e-6, jnp.float32)), 1e-6 * gramian[0])
    assert jac.jvp(jnp.zeros(64, dtype)).tolist() == [0.0] * num_tasks
    assert np.all(np.isnan(jac.jvp(jnp.full(64, np.nan, dtype))))

    gates = auxjax.gcs(num_tasks=num_tasks)
    _, state = gates.update(jac, gates.init(params), params)
    assert optax.tree.get(state, "weights").tolist() == [1, 0, *[1] * (num_tasks - 2)]
    rule = auxjax.olaux(1, num_tasks, 1.0 / size**2)
    _, state = rule.update(jac, rule.init(params), params)
    close(optax.tree.get(state, "weights")[1:], 1 + gramian[0, 1:] / size**2, atol=0.2)
