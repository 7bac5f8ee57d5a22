"""Losses behind solvers: differential equations, roots, optima, linear systems."""

import warnings

import diffrax
import jax
import jax.numpy as jnp
import lineax
import optimistix

from tests.frameworks._foreign import draw, source

with warnings.catch_warnings():  # it says on import that nobody maintains it
    warnings.simplefilter("ignore", DeprecationWarning)
    import jaxopt


def weights():
    return {"w": 0.5 * draw(0, 2, 2), "head": draw(1, 2)}


def solved(adjoint):
    """Losses of where an ordinary differential equation ends."""

    def slope(t, y, p):
        return jnp.tanh(p["w"] @ y) - t * y

    def losses(p, y0):
        end = diffrax.diffeqsolve(
            diffrax.ODETerm(slope),
            diffrax.Euler(),
            t0=0.0,
            t1=0.4,
            dt0=0.2,
            y0=y0,
            args={"w": p["w"]},
            adjoint=adjoint,
            max_steps=2,
        ).ys[-1]
        return {"main": jnp.sum(end**2), "head": jnp.sum(jnp.sin(end) * p["head"])}

    return losses, weights(), (draw(2, 2),)


@source("diffrax, `RecursiveCheckpointAdjoint` (its default)")
def recursive_checkpoint():
    return solved(diffrax.RecursiveCheckpointAdjoint())


@source("diffrax, `DirectAdjoint`")
def direct():
    return solved(diffrax.DirectAdjoint())


@source("diffrax, `BacksolveAdjoint`")
def backsolve():
    return solved(diffrax.BacksolveAdjoint())


@source("diffrax, a stochastic differential equation")
def stochastic():
    """Its path is drawn before: the tree of it would compile for half a minute."""

    def losses(p, times, path):
        noise = diffrax.LinearInterpolation(times, path)
        end = diffrax.diffeqsolve(
            diffrax.MultiTerm(
                diffrax.ODETerm(lambda t, y, p: -p["w"] @ y),
                diffrax.ControlTerm(lambda t, y, p: jnp.cos(y) * p["head"], noise),
            ),
            diffrax.EulerHeun(),
            t0=0.0,
            t1=0.4,
            dt0=0.2,
            y0=jnp.ones(2),
            args=p,
            adjoint=diffrax.DirectAdjoint(),
            max_steps=2,
        ).ys[-1]
        return {"main": jnp.sum(end**2), "helper": jnp.sum(jnp.sin(end))}

    tree = diffrax.VirtualBrownianTree(0.0, 0.4, 0.1, (), jax.random.key(0))
    times = jnp.array([0.0, 0.2, 0.4])
    return losses, weights(), (times, jax.vmap(tree.evaluate)(times))


def found(run, y0=None):
    """Losses of a point that a solver has found: `run(function, start, parameters)`."""

    def losses(p):
        y = run(p, jnp.zeros(2) if y0 is None else y0)
        return {"main": jnp.sum(y**2), "head": jnp.sum(jnp.exp(y) * p["head"])}

    return losses, weights(), ()


@source("optimistix, `root_find`")
def root():
    def residual(y, p):
        return y + 0.3 * jnp.tanh(p["w"] @ y) - 1.0

    solver = optimistix.Newton(rtol=1e-12, atol=1e-12)
    return found(lambda p, y: optimistix.root_find(residual, solver, y, p).value)


@source("optimistix, `fixed_point`")
def fixed_point():
    def step(y, p):
        return 0.3 * jnp.tanh(p["w"] @ y) + 1.0

    solver = optimistix.FixedPointIteration(rtol=1e-13, atol=1e-13)
    return found(lambda p, y: optimistix.fixed_point(step, solver, y, p).value)


@source("optimistix, `least_squares`")
def least_squares():
    def residual(y, p):
        return p["w"] @ y - jnp.array([1.0, 2.0]), 0.1 * y**2

    solver = optimistix.LevenbergMarquardt(rtol=1e-12, atol=1e-12)
    return found(lambda p, y: optimistix.least_squares(residual, solver, y, p).value)


def definite(w):
    return w @ w.T + 2 * jnp.eye(2)


@source("lineax, `CG`")
def linear():
    def run(p, _):
        tag = lineax.positive_semidefinite_tag
        matrix = lineax.MatrixLinearOperator(definite(p["w"]), tag)
        solver = lineax.CG(rtol=1e-13, atol=1e-13)
        return lineax.linear_solve(matrix, jnp.array([1.0, 2.0]), solver).value

    return found(run)


@source("jaxopt, implicit differentiation of `GradientDescent`", tolerance=1e-7)
def implicit():
    def objective(y, p):
        return y @ definite(p["w"]) @ y / 2 - jnp.sum(y) + jnp.sum(y**4) / 8

    solver = jaxopt.GradientDescent(
        objective, stepsize=0.2, acceleration=False, tol=1e-12, maxiter=500
    )
    return found(lambda p, y: solver.run(y, p).params)


@source("jaxopt, unrolled `GradientDescent`")
def unrolled():
    def objective(y, p):
        return y @ definite(p["w"]) @ y / 2 - jnp.sum(y) + jnp.sum(y**4) / 8

    solver = jaxopt.GradientDescent(
        objective, stepsize=0.2, maxiter=3, tol=0.0, implicit_diff=False, unroll=True
    )
    return found(lambda p, y: solver.run(y, p).params)


def forward_mode():
    """Not a source: gradients that exist forwards alone."""
    return solved(diffrax.ForwardMode())
