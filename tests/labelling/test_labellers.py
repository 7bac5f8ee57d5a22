"""k-means, labels by hash, human labels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from auxjax.labelling import (
    Hierarchy,
    LabelData,
    human_labeller,
    kmeans,
    kmeans_labeller,
    nearest_centre,
    random_labeller,
)


def by_hand(points, labels, centres, iterations):
    """Lloyd's algorithm in each class, in NumPy."""
    classes, psi = centres.shape[:2]
    centres = centres.copy()
    for _ in range(iterations):
        for c in range(classes):
            own = points[labels == c]
            nearest = ((own[:, None] - centres[c]) ** 2).sum(-1).argmin(1)
            for k in range(psi):
                if (nearest == k).any():
                    centres[c, k] = own[nearest == k].mean(0)
    return centres


def test_lloyds_iterations(x64):
    rng = np.random.default_rng(0)
    points, labels = rng.normal(size=(60, 3)), np.arange(60) % 2
    args = jax.random.key(0), jnp.asarray(points), jnp.asarray(labels), Hierarchy(2, 4)
    first, later = (np.asarray(kmeans(*args, iterations=n)) for n in (1, 6))
    expected = by_hand(points, labels, first.reshape(2, 4, 3), 5)
    np.testing.assert_allclose(later.reshape(2, 4, 3), expected, rtol=1e-9)
    assert np.abs(first - later).max() > 0.1


def test_clusters_that_are_there_are_found():
    """Each class at four corners; k-means++ starts in each of them."""
    corners = np.array([[0, 0], [0, 9], [9, 0], [9, 9]], np.float32)
    rng = np.random.default_rng(0)
    where, labels = np.arange(120) % 4, np.arange(120) // 4 % 2
    noise = rng.uniform(-0.5, 0.5, size=(120, 2))
    points = jnp.asarray(corners[where] + noise, jnp.float32)
    blocks = Hierarchy(2, 4)
    for seed in range(3):
        centres = kmeans(jax.random.key(seed), points, jnp.asarray(labels), blocks)
        found = np.asarray(nearest_centre(points, jnp.asarray(labels), centres, blocks))
        assert (found // 4 == labels).all()
        pairs = set(zip(found, labels * 4 + where, strict=True))
        assert len(pairs) == 8


def test_fewer_points_than_centres():
    points = jnp.array([[1.0], [1.0], [2.0], [7.0]])
    labels = jnp.array([0, 0, 1, 1])
    centres = kmeans(jax.random.key(0), points, labels, Hierarchy(2, 3))
    assert np.isfinite(centres).all()
    assert (np.asarray(centres[:3]) == 1).all()
    assert set(np.asarray(centres[3:, 0])) == {2.0, 7.0}


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, bool])
def test_random_labels_are_the_images_own(dtype):
    blocks = Hierarchy(2, 5)
    rng = np.random.default_rng(0)
    images = rng.integers(2 if dtype is bool else 250, size=(2000, 4, 4, 1))
    images = jnp.asarray(images.astype(dtype))
    labels = jnp.asarray(np.arange(2000) % 2)
    labeller = random_labeller(blocks)
    state = labeller.init(jax.random.key(0), LabelData(images, labels))
    label = jax.jit(lambda i, y: labeller.label(state, i, y, None, True).targets)
    found = np.asarray(label(images, labels))
    assert (found // 5 == np.asarray(labels)).all()
    counts = np.bincount(found, minlength=10)
    assert counts.min() > 150  # 200 each on average, deviation 13
    some = rng.permutation(2000)[:50]
    np.testing.assert_array_equal(label(images[some], labels[some]), found[some])
    other = labeller.init(jax.random.key(1), LabelData(images, labels))
    differ = (
        np.asarray(labeller.label(other, images, labels, None, True).targets) != found
    )
    assert 0.7 < differ.mean() < 0.9  # 4/5


def test_neighbouring_images_have_independent_random_labels():
    images = jnp.arange(256, dtype=jnp.uint8).reshape(256, 1, 1, 1)
    labels = jnp.zeros(256, jnp.int32)
    labeller = random_labeller(Hierarchy(1, 2))
    state = labeller.init(jax.random.key(0), LabelData(images, labels))
    found = np.asarray(labeller.label(state, images, labels, None, True).targets)
    assert 0.4 < found.mean() < 0.6
    assert 0.35 < (found[1:] == found[:-1]).mean() < 0.65


def test_kmeans_on_pixels_and_on_features():
    blocks = Hierarchy(1, 2)
    images = jnp.asarray([[0, 200], [10, 0], [0, 210], [12, 255]], jnp.uint8)
    labels = jnp.zeros(4, jnp.int32)
    data = LabelData(images, labels)

    def found(**options):
        labeller = kmeans_labeller(blocks, **options)
        state = labeller.init(jax.random.key(0), data)
        made = labeller.label(state, images, labels, None, False)
        assert made.factors is None
        return made.targets.tolist()

    a = found()
    assert a[0] == a[2] == a[3] != a[1]
    b = found(features=lambda x: x[:, :1].astype(jnp.float32))
    assert b[0] == b[2] != b[1] == b[3]


def test_human_labels_are_handed_through():
    labeller = human_labeller()
    human = np.array([2, 3])
    data = LabelData(jnp.zeros((2, 1)), jnp.array([0, 1]), human)
    state = labeller.init(jax.random.key(0), data)
    made = labeller.label(state, data.images, data.labels, human, False)
    assert made.targets.tolist() == [2, 3]
    for call in (
        lambda: labeller.init(jax.random.key(0), data._replace(human=None)),
        lambda: labeller.label(state, data.images, data.labels, None, False),
    ):
        with pytest.raises(ValueError, match="`human` should be given"):
            call()


def test_what_is_refused():
    with pytest.raises(ValueError, match="`iterations` should be at least 1"):
        kmeans(
            jax.random.key(0), jnp.zeros((2, 1)), jnp.array([0, 1]), Hierarchy(2, 1),
            iterations=0,
        )  # fmt: skip
