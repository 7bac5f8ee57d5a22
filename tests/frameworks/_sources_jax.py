"""Losses whose gradients come from JAX's own special places."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.experimental import sparse
from jax.experimental.ode import odeint
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from tests.frameworks._foreign import draw, source


def symmetric(p):
    return p["w"] + p["w"].T + jnp.diag(jnp.arange(3.0))


def square():
    return {"w": draw(0, 3, 3), "head": draw(1, 3)}


@source("`jnp.linalg.eigh`")
def eigh():
    def losses(p):
        values, vectors = jnp.linalg.eigh(symmetric(p))
        return {
            "main": values[0] * values[2],
            "head": jnp.sum(vectors[:, 0] ** 4 * p["head"]),
        }

    return losses, square(), ()


@source("`jnp.linalg.svd`")
def svd():
    def losses(p):
        u, s, v = jnp.linalg.svd(p["w"])
        return {"main": jnp.sum(jnp.sqrt(s)), "head": jnp.sum((u @ v @ p["head"]) ** 3)}

    return losses, square(), ()


@source("`jnp.linalg.qr`")
def qr():
    def losses(p):
        q, r = jnp.linalg.qr(p["w"])
        return {"main": jnp.sum(r[0] ** 2), "head": jnp.sum((q @ p["head"]) ** 3)}

    return losses, square(), ()


def solve_with(solver):
    def losses(p):
        matrix = p["w"] @ p["w"].T + 3 * jnp.eye(3)
        x, _ = solver(matrix, p["head"])
        return {"main": jnp.sum(x**2), "helper": jnp.sum(jnp.sin(x))}

    return losses, square(), ()


@source("`jax.scipy.sparse.linalg.cg`")
def conjugate_gradients():
    return solve_with(functools.partial(jax.scipy.sparse.linalg.cg, tol=1e-13))


@source("`jax.scipy.sparse.linalg.gmres`")
def gmres():
    solver = jax.scipy.sparse.linalg.gmres
    return solve_with(functools.partial(solver, tol=1e-13, restart=3, maxiter=4))


@source("`jnp.fft`")
def fft():
    def losses(p, signal):
        spectrum = jnp.fft.rfft(signal * p["w"]) * p["head"]
        back = jnp.fft.irfft(spectrum)
        return {
            "main": jnp.mean((back - signal) ** 2),
            "spectrum": jnp.sum(jnp.abs(spectrum) ** 2),
            "phase": jnp.sum(jnp.real(spectrum) * jnp.imag(spectrum)),
        }

    return losses, {"w": draw(0, 8), "head": draw(1, 5)}, (draw(2, 8),)


@source("`jax.experimental.sparse.BCOO`")
def bcoo():
    indices = jnp.array([[0, 1], [1, 2], [2, 0], [2, 2]])

    def losses(p):
        matrix = sparse.BCOO((p["data"], indices), shape=(3, 3))
        y = matrix @ jnp.tanh(matrix @ p["x"])
        return {"main": jnp.sum(y**2), "helper": jnp.sum(jnp.exp(y))}

    return losses, {"data": draw(0, 4), "x": draw(1, 3)}, ()


@source("`jax.random.gamma`, `beta`, `dirichlet`")
def samples():
    def losses(p, key):
        first, second, third = jax.random.split(key, 3)
        gamma = jax.random.gamma(first, p["a"], (1,)) / p["b"]
        beta = jax.random.beta(second, p["a"], p["b"], (1,))
        dirichlet = jax.random.dirichlet(third, p["c"])
        return {
            "main": jnp.sum(gamma**2),
            "entropy": jnp.sum(jnp.log(beta)) + jnp.sum(jnp.log(dirichlet)),
        }

    params = {"a": jnp.array([1.5]), "b": jnp.array([0.7]), "c": jnp.array([2.0, 3.0])}
    return losses, params, (jax.random.key(0),)


@source("`jax.experimental.ode.odeint`", tolerance=1e-7)
def ode():
    def losses(p, y0):
        def slope(y, t):
            return jnp.tanh(p["w"] @ y) - p["head"] * y * t

        end = odeint(slope, y0, jnp.array([0.0, 0.3]), rtol=1e-10, atol=1e-10)[-1]
        return {"main": jnp.sum(end**2), "helper": jnp.sum(jnp.sin(end))}

    return losses, square(), (draw(2, 3),)


@source("`jax.custom_vjp` that turns gradients round")
def reversal():
    @jax.custom_vjp
    def turn(x):
        return x

    turn.defvjp(lambda x: (x, None), lambda _, g: (-0.5 * g,))

    def losses(p, x):
        hidden = jnp.tanh(p["w"] @ x)
        return {
            "main": jnp.sum((p["head"] * hidden) ** 2),
            "domain": jnp.sum(jnp.cos(turn(hidden))),
        }

    return losses, square(), (draw(2, 3),)


@source("`jax.pure_callback` with a `custom_vjp`")
def callback():
    def call(f, x):
        return jax.pure_callback(f, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    @jax.custom_vjp
    def sine(x):
        return call(np.sin, x)

    sine.defvjp(lambda x: (sine(x), x), lambda x, g: (g * call(np.cos, x),))

    def losses(p, x):
        hidden = sine(p["w"] @ x)
        return {"main": jnp.sum(hidden**2), "head": jnp.sum(p["head"] * hidden)}

    return losses, square(), (draw(2, 3),)


@source("`jax.pure_callback` whose gradient is a callback")
def opaque_callback():
    def call(f, *x):
        return jax.pure_callback(f, jax.ShapeDtypeStruct(x[0].shape, x[0].dtype), *x)

    @jax.custom_vjp
    def sine(x):
        return call(np.sin, x)

    def back(x, g):
        return (call(lambda x, g: np.cos(x) * g, x, g),)

    sine.defvjp(lambda x: (sine(x), x), back)

    def losses(p, x):
        hidden = sine(p["w"] @ x)
        return {"main": jnp.sum(hidden**2), "head": jnp.sum(p["head"] * hidden)}

    return losses, square(), (draw(2, 3),)


@source("`jax.shard_map`")
def sharded():
    mesh = Mesh(np.array(jax.devices()[:2]), ("data",))

    def local(p, x):
        y = jnp.tanh(x @ p["w"])
        main, helper = jnp.mean(y**2), jnp.mean(jnp.exp(y @ p["head"]))
        return jax.lax.pmean((main, helper), "data")

    mapped = jax.shard_map(local, mesh=mesh, in_specs=(P(), P("data")), out_specs=P())

    def losses(p, x):
        main, helper = mapped(p, x)
        return {"main": main, "helper": helper}

    return losses, square(), (draw(2, 4, 3),)


@source("`jax.checkpoint` with a policy")
def checkpointed():
    policy = jax.checkpoint_policies.dots_with_no_batch_dims_saveable

    @functools.partial(jax.checkpoint, policy=policy)
    def block(w, x):
        return jnp.tanh(w @ jnp.sin(w @ x))

    def losses(p, x):
        hidden = block(p["w"], block(p["w"], x))
        return {"main": jnp.sum(hidden**2), "head": jnp.sum(p["head"] * hidden)}

    return losses, square(), (draw(2, 3),)


@source("`optax.ctc_loss`")
def ctc():
    def losses(p, x):
        logits = (x @ p["w"])[None]
        still = jnp.zeros(logits.shape[:2])
        labels = jnp.array([[1, 2, 1]])
        loss = optax.ctc_loss(logits, still, labels, jnp.zeros(labels.shape))
        return {"main": loss[0], "head": jnp.sum((x @ p["w"] @ p["head"]) ** 2)}

    return losses, square(), (draw(2, 5, 3),)
