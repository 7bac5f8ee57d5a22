"""Losses of other people's layers, distributions and graphs."""

import e3nn_jax
import flax.linen as nn
import haiku as hk
import jax
import jax.numpy as jnp
import jraph
import numpyro
import numpyro.distributions as dist

from tests.frameworks._foreign import draw, source


@source("jraph, `GraphNetwork`")
def graph():
    nodes, edges = draw(2, 3, 2), draw(3, 4, 2)
    receivers, senders = jnp.array([1, 2, 0, 0]), jnp.array([0, 1, 2, 1])

    def losses(p, nodes, edges):
        def edge(edges, sent, received, context):
            return jnp.tanh(edges + (sent - received) @ p["w"])

        def node(nodes, sent, received, context):
            return nodes + received @ p["w"]

        given = jraph.GraphsTuple(
            nodes=nodes,
            edges=edges,
            receivers=receivers,
            senders=senders,
            globals=jnp.zeros((1, 1)),
            n_node=jnp.array([3]),
            n_edge=jnp.array([4]),
        )
        out = jraph.GraphNetwork(edge, node)(given)
        return {
            "main": jnp.sum((out.nodes @ p["head"]) ** 2),
            "edges": jnp.sum(out.edges**2),
        }

    return losses, {"w": draw(0, 2, 2), "head": draw(1, 2)}, (nodes, edges)


@source("e3nn-jax, a tensor product with spherical harmonics")
def equivariant():
    def losses(p, points):
        harmonics = e3nn_jax.spherical_harmonics("0e + 1o", points, normalize=True)
        own = e3nn_jax.IrrepsArray("0e + 1o", points @ p["w"])
        product = e3nn_jax.tensor_product(own, harmonics)
        scalars = product.filter("0e").array
        return {
            "main": jnp.sum((scalars @ p["head"]) ** 2),
            "norm": jnp.sum(product.array**4),
        }

    return losses, {"w": draw(0, 3, 4), "head": draw(1, 2)}, (draw(2, 2, 3),)


@source("numpyro, `Trace_ELBO`")
def elbo():
    def model(y):
        z = numpyro.sample("z", dist.Normal(0.0, 1.0))
        numpyro.sample("y", dist.Normal(jnp.sin(z), 0.5).expand([3]), obs=y)

    def guide(y):
        mean = numpyro.param("mean", jnp.zeros(()))
        scale = numpyro.param("scale", jnp.ones(()))
        numpyro.sample("z", dist.Normal(mean, scale))

    def losses(p, key, y):
        bound = numpyro.infer.Trace_ELBO()
        held = {"mean": p["mean"], "scale": jnp.exp(p["log_scale"])}
        return {
            "main": bound.loss(key, held, model, guide, y),
            "ridge": p["mean"] ** 2 + p["log_scale"] ** 4,
        }

    params = {"mean": jnp.array(0.3), "log_scale": jnp.array(-0.5)}
    return losses, params, (jax.random.key(0), draw(0, 3))


def sequence(apply, params):
    """Losses of a recurrent network, from `apply(params, x)` `[time, batch, f]`."""

    def losses(p, x):
        out = apply(p["net"], x)
        return {
            "main": jnp.sum((out[-1] @ p["head"]) ** 2),
            "next": jnp.mean((out[:-1] - x[1:]) ** 2),
        }

    return losses, {"net": params, "head": draw(5, 2)}, (draw(2, 3, 1, 2),)


@source("Haiku, `LSTM` in `dynamic_unroll`")
def haiku_recurrent():
    def forward(x):
        core = hk.LSTM(2)
        return hk.dynamic_unroll(core, x, core.initial_state(1))[0]

    net = hk.without_apply_rng(hk.transform(forward))
    params = net.init(jax.random.key(0), draw(2, 3, 1, 2))
    return sequence(net.apply, params)


@source("Flax, `nn.RNN` of a `GRUCell`")
def flax_recurrent():
    net = nn.RNN(nn.GRUCell(2, param_dtype=jnp.float64), time_major=True)
    params = net.init(jax.random.key(0), draw(2, 3, 1, 2))
    return sequence(net.apply, params)
