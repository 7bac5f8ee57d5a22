"""Losses that are one array: rows, Gramian and norms from one backward pass."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.extend import core as jex_core

import auxjax
from auxjax.jacobian import needs_no_rows

B = 7


def draw(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


class Case(NamedTuple):
    """Losses `[T]`, the parameters, and the leaves whose rows take a pass each."""

    losses: object
    params: dict
    dear: tuple[str, ...] = ()


def like(p, x):
    """A constant in the parameters' precision."""
    real = jnp.real(jax.tree.leaves(p)[0]).dtype
    return jnp.asarray(x, real) if np.issubdtype(x.dtype, np.floating) else x


def each(loss):
    """A single example's loss, mapped over a batch of them."""

    def losses(p, *batch):
        axes = (None, *(0,) * len(batch))
        return jax.vmap(loss, axes)(p, *(like(p, x) for x in batch))

    return losses


X, Y, IMAGES = draw(1, B, 3), draw(2, B, 2), draw(3, B, 6, 6, 2)
TOKENS = np.random.default_rng(4).integers(0, 5, (B, 6)).astype("int32")
LABELS = TOKENS[:, 0] % 2
MLP = {"a": draw(5, 3, 4), "b": draw(6, 4), "c": draw(7, 4, 2)}
NHWC = ("NHWC", "HWIO", "NHWC")


def mlp(p, x, y):
    hidden = jax.nn.relu(x @ p["a"] + p["b"])
    return jnp.mean((jnp.tanh(hidden) @ p["c"] - y) ** 2)


def whole_batch(p):
    """The same, written for a batch."""
    hidden = jax.nn.relu(like(p, X) @ p["a"] + p["b"][None])
    return jnp.mean((jnp.tanh(hidden) @ p["c"] - like(p, Y)) ** 2, axis=-1)


def batch_last(p):
    hidden = jax.nn.relu(p["a"].T @ like(p, X).T + p["b"][:, None])
    return jnp.sum((p["c"].T @ hidden - like(p, Y).T) ** 2, axis=0)


def classified(p, x, label):
    logits = jnp.tanh(x @ p["a"] + p["b"]) @ p["c"]
    return -jax.nn.log_softmax(logits)[label]


def looked_up(p, x, label):
    """As Optax has it."""
    logits = jnp.tanh(x @ p["a"] + p["b"]) @ p["c"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, label)


def columns(p):
    """The same columns of every example, and some that are added up."""
    hidden = jnp.tanh(like(p, X) @ p["a"])
    picked = hidden[:, jnp.array([2, 0, 2])] ** 2
    return jnp.sum(picked, axis=1) + hidden[:, 1] * jnp.take(hidden, 3, axis=1)


def convolved(images, kernel, padding="SAME", strides=(1, 1)):
    return jax.lax.conv_general_dilated(
        images, kernel, strides, padding, dimension_numbers=NHWC
    )


def cnn(p, image, y):
    hidden = jax.nn.relu(convolved(image[None], p["k"]) + p["b"].reshape(1, 1, 1, -1))
    hidden = jax.lax.reduce_window(
        hidden, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID"
    )
    hidden = convolved(hidden, p["k2"], "VALID", (2, 2))
    pooled = jax.lax.reduce_window(
        hidden, 0.0, jax.lax.add, (1, 1, 1, 1), (1, 1, 1, 1), "VALID"
    )
    return jnp.sum((pooled.reshape(-1) @ p["w"] - y) ** 2)


def cnn_of_a_batch(p):
    hidden = jax.nn.relu(convolved(like(p, IMAGES), p["k"]))
    return jnp.sum(hidden.reshape(B, -1) ** 2, axis=1)


def merged(p):
    """Pixels of all images in one axis, as where patches meet a matrix."""
    hidden = jnp.tanh(like(p, IMAGES).reshape(-1, 2) @ p["k"])
    return jnp.sum(hidden.reshape(B, -1) ** 2, axis=1)


def attention(p, tokens):
    hidden = p["table"][tokens]
    centred = hidden - hidden.mean(axis=-1, keepdims=True)
    spread = jax.lax.rsqrt(jnp.mean(centred**2, axis=-1, keepdims=True) + 1e-3)
    hidden = hidden + centred * spread * p["scale"][None]
    heads = (hidden @ p["q"]).reshape(6, 2, 2)
    scores = jax.nn.softmax(jnp.einsum("ihd,jhd->hij", heads, heads), axis=-1)
    mixed = jnp.einsum("hij,jhd->ihd", scores, heads).reshape(6, 4)
    return jnp.sum((jnp.cumsum(mixed, axis=0) @ p["table"].T)[:, 0] ** 2)


def pieces(p, x):
    """Cut, turned round, padded and joined."""
    h = jnp.tanh(x @ p["a"])
    h = jnp.concatenate([h[1:3], jnp.flip(h), jnp.pad(h, (1, 2))])
    return jnp.sum(jnp.squeeze(h[None], 0)[:9].reshape(3, 3) @ p["m"] ** 3)


def batch_normed(p):
    """Every loss depends on every example."""
    hidden = like(p, X) @ p["a"]
    hidden = hidden - hidden.mean(0, keepdims=True)
    hidden = hidden / (hidden.std(0, keepdims=True) + 1e-2)
    return jnp.sum((jnp.tanh(hidden) @ p["c"] - like(p, Y)) ** 2, axis=-1)


def heads(p):
    """A trunk and four heads that `vmap` runs: T = 4."""
    hidden = jnp.tanh(like(p, X) @ p["a"])
    loss = lambda head, k: jnp.mean((hidden @ head - k) ** 2)  # noqa: E731
    return jax.vmap(loss)(p["heads"], like(p, np.arange(4.0)))


def recurrent(p, x):
    step = lambda h, w: (jnp.tanh(h @ w), None)  # noqa: E731
    return jnp.sum(jax.lax.scan(step, x, p["layers"])[0] ** 2)


@jax.custom_vjp
def doubled(x):
    return 2.0 * x


doubled.defvjp(lambda x: (2.0 * x, None), lambda _, g: (2.0 * g,))


def with_custom_vjp(p, x, y):
    return jnp.sum((doubled(jnp.tanh(x @ p["a"])) @ p["c"] - y) ** 2)


remembered = jax.checkpoint(lambda p, x: jnp.tanh(x @ p["a"]))


def checkpointed(p, x, y):
    return jnp.sum((remembered(p, x) @ p["c"] - y) ** 2)


def tied(p, x):
    return jnp.sum(jnp.tanh(jnp.tanh(x @ p["s"]) @ p["s"].T) ** 2) + p["s"][0, 0]


def picked(p):
    """Each from a row of its own in a table, and by two indices."""
    logits = jnp.tanh(like(p, X) @ p["a"])
    return logits[jnp.arange(B), LABELS] ** 2 + jnp.sum(p["own"], axis=1) ** 3


def complex_numbers(p, x):
    z = x.astype(p["z"].dtype) @ p["z"]
    return jnp.sum(jnp.abs(z) ** 2) + jnp.real(z[0])


def product_of_sums(p):
    """A sum over all losses' parts that goes on to all of them."""
    hidden = jnp.tanh(like(p, X) @ p["a"])
    return jnp.sum(hidden * jnp.sum(hidden, axis=0)[None], axis=1)


conv = {"k": draw(8, 3, 3, 2, 3), "b": draw(9, 3), "k2": draw(10, 2, 2, 3, 2)}
words = {"table": draw(12, 5, 4), "scale": draw(13, 4), "q": draw(14, 4, 4)}
HEADS = {"a": MLP["a"], "heads": draw(15, 4, 4, 2)}
CASES = {
    "mlp": Case(lambda p: each(mlp)(p, X, Y), MLP),
    "mlp of a batch": Case(whole_batch, MLP),
    "batch last": Case(batch_last, MLP),
    "classified": Case(lambda p: each(classified)(p, X, LABELS), MLP),
    "looked up": Case(lambda p: each(looked_up)(p, X, LABELS), MLP),
    "columns": Case(columns, {"a": MLP["a"]}),
    "cnn": Case(lambda p: each(cnn)(p, IMAGES, Y), {**conv, "w": draw(11, 2, 2)}),
    "cnn of a batch": Case(cnn_of_a_batch, {"k": conv["k"]}),
    "merged": Case(merged, {"k": draw(16, 2, 3)}),
    "attention": Case(lambda p: each(attention)(p, TOKENS), words),
    "pieces": Case(lambda p: each(pieces)(p, X), {"a": MLP["a"], "m": draw(17, 3, 3)}),
    "batch norm": Case(batch_normed, MLP, ("a",)),
    "heads": Case(heads, HEADS, ("a",)),
    "recurrent": Case(
        lambda p: each(recurrent)(p, X), {"layers": draw(18, 2, 3, 3)}, ("layers",)
    ),
    "custom vjp": Case(lambda p: each(with_custom_vjp)(p, X, Y), MLP),
    "checkpoint": Case(lambda p: each(checkpointed)(p, X, Y), MLP),
    "tied": Case(lambda p: each(tied)(p, X), {"s": draw(19, 3, 3)}),
    "picked": Case(picked, {"a": MLP["a"], "own": draw(20, B, 2)}, ("a",)),
    "complex": Case(
        lambda p: each(complex_numbers)(p, X),
        {"z": draw(21, 3, 2) + 1j * draw(22, 3, 2)},
    ),
    "product of sums": Case(product_of_sums, {"a": MLP["a"]}, ("a",)),
}
every_case = pytest.mark.parametrize("name", CASES)
chunks = pytest.mark.parametrize("chunk_size", [None, 1, 3, 7, 50])


@functools.cache
def known(name):
    """In double precision: the Jacobian, its rows by JAX, and flat for NumPy."""
    with jax.enable_x64(True):
        losses, params, _ = CASES[name]
        params = jax.tree.map(jnp.asarray, params)
        jac = auxjax.task_jacobian(losses, params)
        basis = np.eye(jac.num_tasks)
        pull = jax.vjp(losses, params)[1]
        rows = [pull(jnp.asarray(basis[i]))[0] for i in range(jac.num_tasks)]
        rows = jax.tree.map(lambda *x: np.stack(x), *rows)
        return jac, rows, params


def flat(rows):
    """`[T, numbers]`; a complex number is two."""
    leaves = [np.asarray(x).reshape(len(x), -1) for x in jax.tree.leaves(rows)]
    parts = [np.concatenate([x.real, x.imag], axis=1) for x in leaves]
    return np.concatenate(parts, axis=1)


def close(found, expected):
    size = max(1.0, np.abs(expected).max())
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-10 * size)


@every_case
@chunks
def test_rows_are_jaxs(name, chunk_size, x64):
    jac, rows, _ = known(name)
    assert len(jac._linear.program.jaxpr.out_avals) == 1  # that is what it is about
    found = jac.rows(chunk_size=chunk_size)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(rows), strict=True):
        assert a.dtype == b.dtype
        close(a, b)


@every_case
@chunks
def test_gramian_and_norms_are_those_of_the_rows(name, chunk_size, x64):
    """Of scaled rows, and with some tasks absent."""
    jac, rows, _ = known(name)
    weights = np.random.default_rng(0).normal(size=jac.num_tasks)
    here = np.arange(jac.num_tasks) % 3 != 1
    stacked = flat(rows) * weights[:, None] * here[:, None]
    scaled = jac.mask(jnp.asarray(here)).scale(jnp.asarray(weights))
    close(scaled.gramian(chunk_size=chunk_size), stacked @ stacked.T)
    close(scaled.norms(chunk_size=chunk_size), np.linalg.norm(stacked, axis=1))


@every_case
def test_the_same_leaf_by_leaf(name, x64):
    jac, rows, params = known(name)
    for leaf in params:
        where = {other: other == leaf for other in params}
        own = flat({leaf: rows[leaf]})
        close(jac.gramian(where, chunk_size=2), own @ own.T)
        close(jac.norms(where), np.linalg.norm(own, axis=1))
        found = jac.rows(where=where)
        assert [key for key, x in found.items() if x is not None] == [leaf]
        close(found[leaf], rows[leaf])


@every_case
def test_under_jit_vmap_and_scan(name, x64):
    losses, _, _ = CASES[name]
    _, rows, params = known(name)
    stacked = flat(rows)
    run = lambda p: auxjax.task_jacobian(losses, p).gramian(chunk_size=2)  # noqa: E731
    close(jax.jit(run)(params), stacked @ stacked.T)
    two = jax.tree.map(lambda x: jnp.stack([x, x]), params)
    close(jax.jit(jax.vmap(run))(two)[1], stacked @ stacked.T)
    scanned = jax.lax.scan(lambda c, p: (c, run(p)), 0, two)[1]
    close(scanned[0], stacked @ stacked.T)


@every_case
def test_what_is_known_to_need_no_rows(name):
    """A rule that is forgotten would make each loss a pass of its own."""
    losses, params, dear = CASES[name]
    params = jax.tree.map(jnp.asarray, params)
    jac = auxjax.task_jacobian(losses, params)
    for leaf in params:
        where = {other: other == leaf for other in params}
        assert needs_no_rows(jac, where) == (leaf not in dear), leaf
    assert needs_no_rows(jac, None) == (not dear)


@every_case
def test_dependence_and_rows_that_are_written_down(name, x64):
    jac, rows, params = known(name)
    used = {leaf: bool(np.any(rows[leaf])) for leaf in params}
    assert jac.depends(1) == used
    assert jac.shared_mask() == used
    close(flat(jac.materialize().rows()), flat(rows))
    direction = jax.tree.map(lambda x: x * 0.5, params)
    close(jac.materialize().jvp(direction), jac.jvp(direction))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["mlp", "cnn", "attention", "heads"])
def test_lower_precision(name, dtype):
    _, rows, _ = known(name)
    losses, params, _ = CASES[name]
    params = jax.tree.map(lambda x: jnp.asarray(x, dtype), params)
    jac = auxjax.task_jacobian(losses, params)
    found, stacked = jac.gramian(), flat(rows)
    assert found.dtype == jnp.float32
    tolerance = 1e-4 if dtype == "float32" else 0.3
    expected = stacked @ stacked.T
    np.testing.assert_allclose(found, expected, atol=tolerance * np.abs(expected).max())
    for x in jax.tree.leaves(jac.rows()):
        assert x.dtype == dtype


def test_other_rules_see_the_same_losses(x64):
    """`row`, `vjp`, `jvp`, `gramian_row` do not change."""
    jac, rows, _ = known("mlp")
    stacked, weights = flat(rows), jnp.arange(1.0, 8.0)
    close(flat(jax.tree.map(lambda x: x[None], jac.row(3)))[0], stacked[3])
    pulled = jax.tree.map(lambda x: x[None], jac.vjp(weights))
    close(flat(pulled)[0], np.asarray(weights) @ stacked)
    close(jac.gramian_row(2), stacked @ stacked[2])


# What it costs


def largest(run, *args):
    """The most numbers in any array of a program, programs inside it included."""

    def of(jaxpr):
        own = [v.aval.size for e in jaxpr.eqns for v in e.outvars]
        inner = [of(j) for e in jaxpr.eqns for j in jex_core.jaxprs_in_params(e.params)]
        return max([*own, *inner, 0])

    return of(jax.make_jaxpr(run)(*args).jaxpr)


def big(width=64, size=256):
    params = {"a": draw(1, 16, width), "b": draw(2, width), "c": draw(3, width, 9)}
    params = jax.tree.map(jnp.asarray, params)
    x, y = draw(4, size, 16), draw(5, size, 9)
    return params, lambda p: each(mlp)(p, x, y)


def test_no_row_of_a_dense_layer_is_ever_there():
    """256 examples: the largest array is the Gramian, 65,536; the rows are 426,000."""
    params, losses = big()
    run = lambda p: auxjax.task_jacobian(losses, p).gramian()  # noqa: E731
    assert largest(run, params) == 256**2
    run = lambda p: auxjax.task_jacobian(losses, p).norms()  # noqa: E731
    assert largest(run, params) == 256 * 64
    tx = auxjax.mgda()

    def step(p):
        return tx.update(auxjax.task_jacobian(losses, p), tx.init(p), p)[0]

    assert largest(step, params) <= 256**2


def test_a_chunk_bounds_the_memory_where_rows_are_needed():
    """A convolution's rows: all at once, or eight."""
    kernel, images = map(jnp.asarray, (draw(1, 3, 3, 8, 16), draw(2, 256, 6, 6, 8)))

    def losses(p):
        hidden = convolved(images, p["k"])
        return jnp.sum(jnp.tanh(hidden) ** 2, axis=(1, 2, 3))

    def peak(chunk_size):
        run = lambda p: auxjax.task_jacobian(losses, p).gramian(chunk_size=chunk_size)  # noqa: E731
        program = jax.jit(run).lower({"k": kernel}).compile()
        return program.memory_analysis().temp_size_in_bytes

    rows = 4 * 256 * kernel.size
    assert peak(8) < 0.7 * rows < rows < peak(None)


def test_one_backward_pass_of_all_losses():
    """The products of one, but for the kernels', which the Gramian does without."""
    losses, params, _ = CASES["mlp of a batch"]
    params = jax.tree.map(jnp.asarray, params)

    def products(run):
        jaxpr = jax.make_jaxpr(run)(params).jaxpr
        return sum(eqn.primitive.name == "dot_general" for eqn in jaxpr.eqns)

    forward = 2
    one_backward = products(lambda p: auxjax.task_jacobian(losses, p).vjp(jnp.ones(B)))
    assert one_backward == forward + 3  # a product for the hidden layer, two kernels
    found = products(lambda p: auxjax.task_jacobian(losses, p).gramian())
    assert found == forward + 1 + 5  # instead of two kernels: two pairs, and the bias


def test_what_is_not_finite_stays_with_its_loss(x64):
    """One example's NaN is in its own row and column alone."""
    _, rows, params = known("mlp")
    x = np.array(X)
    x[2] = np.nan
    jac = auxjax.task_jacobian(each(mlp), params, jnp.asarray(x), Y)
    gramian, stacked = np.asarray(jac.gramian()), flat(rows)
    bad = np.isnan(gramian)
    assert bad[2].all()
    assert bad[:, 2].all()
    others = np.arange(B) != 2
    close(gramian[others][:, others], (stacked @ stacked.T)[others][:, others])


def test_chunks_of_nothing():
    losses, params, _ = CASES["mlp"]
    params = jax.tree.map(jnp.asarray, params)
    jac = auxjax.task_jacobian(losses, params)
    for ask in (jac.gramian, jac.rows, jac.norms):
        with pytest.raises(ValueError, match=r"`chunk_size` should be at least 1\. Fo"):
            ask(chunk_size=0)
