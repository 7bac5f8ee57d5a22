import jax
import jax.numpy as jnp
import pytest

from auxjax.labelling import Hierarchy, Network


def plain(*sizes, hidden=4, features=3):
    """x → tanh(x V) → one matrix an output, in whatever dtype x has."""

    def init(key, images):
        keys = jax.random.split(key, 1 + len(sizes))
        draw = lambda key, *shape: 0.7 * jax.random.normal(key, shape, images.dtype)  # noqa: E731
        heads = [draw(k, hidden, n) for k, n in zip(keys[1:], sizes, strict=True)]
        return {"trunk": draw(keys[0], features, hidden), "heads": heads}, None

    def apply(params, state, images, train):
        del train
        h = jnp.tanh(images @ params["trunk"])
        return tuple(h @ head for head in params["heads"]), state

    return Network(init, apply)


@pytest.fixture(scope="session")
def network():
    """Makes the smallest networks that say anything: `network(2, 6)`."""
    return plain


@pytest.fixture(scope="session")
def blocks():
    """Two classes of three labels."""
    return Hierarchy(2, 3)


@pytest.fixture(autouse=True, scope="module")
def quick_compilation():
    """Tiny programs run a few times: compiling them is what takes the time."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
