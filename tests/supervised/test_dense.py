"""Losses and metrics of dense prediction by hand; what is ignored may be NaN."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from auxjax.supervised._dense import masked_l1, normal_cosine, segmentation_loss
from auxjax.supervised._dense_metrics import DepthSums, NormalSums, SegmentationSums

NAN = jnp.nan


def one_hot(classes, num_classes):
    """Scores whose largest is the class."""
    return jnp.eye(num_classes)[jnp.array(classes)]


# --- losses


def test_cross_entropy_by_hand():
    logits = jnp.log(jnp.array([[[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]]))
    # −½ (log ½ + log 0.1)
    loss = segmentation_loss(logits, jnp.array([[0, 1]]))
    assert loss == pytest.approx(0.5 * (np.log(2) + np.log(10)), rel=1e-6)
    assert segmentation_loss(logits, jnp.array([[-1, 2]])) == pytest.approx(
        -np.log(0.8), rel=1e-6
    )


def test_l1_by_hand():
    target = jnp.array([[[2.0], [0.0]], [[4.0], [8.0]]])
    prediction = jnp.array([[[3.0], [99.0]], [[4.0], [6.0]]])
    assert masked_l1(prediction, target) == 1.0  # (1 + 0 + 2) / 3
    # Over three channels: a pixel is one pixel, whatever its channels.
    target = jnp.array([[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    prediction = jnp.array([[0.0, 3.0, 1.0], [5.0, 5.0, 5.0]])
    assert masked_l1(prediction, target) == 1.0


def test_l1_summed_over_channels_as_in_the_authors_code():
    target = jnp.array([[0.0, 0.0, 1.0], [0.6, 0.0, 0.8], [0.0, 0.0, 0.0]])
    prediction = jnp.array([[0.0, 3.0, 1.0], [0.6, 1.0, 2.8], [5.0, 5.0, 5.0]])
    assert masked_l1(prediction, target, channels="sum") == 3.0  # (3 + 3) / 2 pixels
    assert masked_l1(prediction, target) == 1.0
    one = prediction[:, 2:], target[:, 2:]
    assert masked_l1(*one, channels="sum") == masked_l1(*one)
    with pytest.raises(ValueError, match=r'"mean" or "sum". Found .max.'):
        masked_l1(*one, channels="max")


def test_cosine_by_hand():
    target = jnp.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0, 0, 0]])
    prediction = jnp.array([[0, 0, 7.0], [0, -2.0, 0], [1.0, 1.0, 0], [1.0, 2.0, 3.0]])
    expected = (0 + 2 + 1 - np.sqrt(0.5)) / 3
    assert normal_cosine(prediction, target) == pytest.approx(expected, rel=1e-6)
    assert normal_cosine(jnp.zeros((1, 3)), target[:1]) == 1.0


def losses_of(unknown):
    """Each loss as a function of predictions `[2, 3]`; the second pixel is unknown, or
    both are."""
    label = jnp.array([-1 if unknown else 1, -1])
    target = jnp.array([[0.0, 0.0, 0.0 if unknown else 1.0], [0.0, 0.0, 0.0]])
    return {
        "segmentation": lambda x: segmentation_loss(x, label),
        "l1": lambda x: masked_l1(x, target),
        "cosine": lambda x: normal_cosine(x, target),
    }


@pytest.mark.parametrize("name", ["segmentation", "l1", "cosine"])
def test_what_is_ignored_may_be_nan(name):
    loss = losses_of(unknown=False)[name]
    known = jnp.array([0.2, 0.3, 0.4])
    values = [
        jax.value_and_grad(loss)(jnp.stack([known, jnp.full(3, rest)]))
        for rest in (0.0, 5.0, NAN, jnp.inf)
    ]
    for value, gradient in values:
        assert value == values[0][0] > 0
        np.testing.assert_array_equal(gradient, values[0][1])
        assert not gradient[1].any()
        assert gradient[0].any()


@pytest.mark.parametrize("name", ["segmentation", "l1", "cosine"])
@pytest.mark.parametrize("rest", [0.0, 1.0, NAN])
def test_no_valid_pixel_is_no_loss(name, rest):
    loss = losses_of(unknown=True)[name]
    value, gradient = jax.value_and_grad(loss)(jnp.full((2, 3), rest))
    assert value == 0.0
    np.testing.assert_array_equal(gradient, np.zeros((2, 3)))


def test_gradients_at_a_zero_vector_are_finite():
    gradient = jax.grad(normal_cosine)(jnp.zeros((1, 3)), jnp.array([[0.0, 0, 1]]))
    assert jnp.isfinite(gradient).all()


def test_nan_that_counts_is_not_hidden():
    assert jnp.isnan(masked_l1(jnp.array([[NAN]]), jnp.array([[1.0]])))


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [(jnp.bfloat16, jnp.float32), (jnp.float32, jnp.float32), ("float64", "float64")],
)
def test_dtypes(x64, dtype, expected):
    vectors = jnp.array([[0.0, 0.6, 0.8]], dtype)
    assert masked_l1(vectors, vectors).dtype == expected
    assert normal_cosine(vectors, vectors).dtype == expected
    assert segmentation_loss(vectors, jnp.array([0])).dtype == expected
    # A float32 target does not round a float64 prediction.
    assert masked_l1(vectors, vectors.astype(jnp.float32)).dtype == expected


def test_float64_is_exact(x64):
    logits = jnp.array([[1.0, 2.0, 3.5]])
    expected = np.log(np.exp(-1) + 1 + np.exp(1.5))
    loss = segmentation_loss(logits, jnp.array([1]))
    assert loss == pytest.approx(expected, rel=1e-14)
    sums = NormalSums.zeros().add(jnp.array([[1.0, 1e-7, 0]]), jnp.array([[1.0, 0, 0]]))
    angle = sums.metrics()["mean_angle"]
    assert angle == pytest.approx(np.rad2deg(np.arctan(1e-7)), rel=1e-12)
    assert sums.angle.dtype == jnp.float64


def test_shapes_have_to_agree():
    with pytest.raises(ValueError, match="the target's shape"):
        inspect.unwrap(masked_l1)(jnp.zeros((2, 1)), jnp.zeros((2, 3)))
    with pytest.raises(ValueError, match="the label's pixels"):
        inspect.unwrap(segmentation_loss)(jnp.zeros((2, 3)), jnp.zeros((3,), int))


# --- segmentation


def test_confusion_iou_and_accuracy_by_hand():
    truth = jnp.array([[0, 0, 0, 1], [1, 2, -1, -1]])
    said = one_hot([[0, 0, 1, 1], [0, 2, 2, 0]], 4)
    sums = SegmentationSums.zeros(4).add(said, truth)
    expected = [[2, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    np.testing.assert_array_equal(sums.confusion, expected)
    iou, present = sums.iou()
    np.testing.assert_allclose(iou, [2 / 4, 1 / 3, 1, 0])
    np.testing.assert_array_equal(present, [True, True, True, False])
    metrics = sums.metrics()
    assert metrics["miou"] == pytest.approx((2 / 4 + 1 / 3 + 1) / 3)
    assert metrics["pixel_accuracy"] == pytest.approx(4 / 6)
    assert sums.metrics(absent="zero")["miou"] == pytest.approx((2 / 4 + 1 / 3 + 1) / 4)


def test_a_class_that_is_said_but_never_true_counts():
    """Class 2 is nowhere, but one pixel was taken for it: its IoU is 0, not absent."""
    sums = SegmentationSums.zeros(3).add(one_hot([0, 2], 3), jnp.array([0, 0]))
    assert sums.metrics()["miou"] == pytest.approx((1 / 2 + 0) / 2)


def test_a_class_that_is_said_only_on_ignored_pixels_is_absent():
    sums = SegmentationSums.zeros(2).add(one_hot([0, 1], 2), jnp.array([0, -1]))
    assert sums.metrics() == {"miou": 1.0, "pixel_accuracy": 1.0}


def test_a_label_beyond_the_classes_does_not_spill_into_another_row():
    sums = SegmentationSums.zeros(2).add(one_hot([0, 1], 2), jnp.array([2, 1]))
    np.testing.assert_array_equal(sums.confusion, [[0, 0], [0, 1]])


INTEGERS = ["int8", "uint8", "int16", "uint16", "int32", "uint32"]


@pytest.mark.parametrize("classes", [16, 120])
@pytest.mark.parametrize("dtype", INTEGERS)
def test_labels_of_any_integers(dtype, classes):
    """All right is 1, whatever fits into the label's dtype; and what is unknown is out,
    written as 255 or as −1."""
    rng = np.random.default_rng(0)
    truth = rng.permutation(np.arange(2 * classes) % classes)
    info = np.iinfo(dtype)
    unknown = [255 if info.min == 0 else -1, 255 if info.max >= 255 else -1]
    label = jnp.asarray(np.append(truth, unknown).astype(dtype))
    scores = jnp.asarray(10 * np.eye(classes)[np.append(truth, [0, 0])])
    metrics = SegmentationSums.zeros(classes).add(scores, label).metrics()
    assert metrics == {"miou": 1.0, "pixel_accuracy": 1.0}
    expected = np.log(1 + (classes - 1) * np.exp(-10))
    assert segmentation_loss(scores, label) == pytest.approx(expected, rel=1e-2)


@pytest.mark.parametrize(("classes", "known"), [(255, 1), (256, 2)])
def test_255_is_unknown_unless_it_is_a_class(classes, known):
    """By loss and metric alike."""
    label = jnp.array([0, 255], jnp.uint8)
    scores = jnp.zeros((2, classes)).at[0, 0].set(3.0).at[1].set(0.0)
    sums = SegmentationSums.zeros(classes).add(scores, label)
    assert int(sums.confusion.sum()) == known
    first = segmentation_loss(scores[:1], label[:1])
    mean = (first + (known - 1) * np.log(classes)) / known
    assert segmentation_loss(scores, label) == pytest.approx(float(mean), rel=1e-6)
    # A dtype that cannot hold the number of classes, nor 255.
    assert segmentation_loss(scores, jnp.array([0, -1], jnp.int8)) == first


def test_other_labels_beyond_the_classes(x64):
    """The loss says that something is wrong; none comes back as another class."""
    for value in (3, 254, 2**32, 2**33 + 1):
        label = jnp.array([1, value], jnp.int64)
        assert jnp.isnan(segmentation_loss(one_hot([1, 0], 3), label))
        sums = SegmentationSums.zeros(3).add(one_hot([1, 0], 3), label)
        assert int(sums.confusion.sum()) == int(sums.confusion[1, 1]) == 1


def test_labels_are_integers():
    scores = one_hot([0], 2)
    with pytest.raises(ValueError, match=r"`label` should hold integers. Found float"):
        segmentation_loss(scores, jnp.array([0.0]))
    with pytest.raises(ValueError, match=r"`label` should hold integers. Found bool"):
        SegmentationSums.zeros(2).add(scores, jnp.array([True]))


def test_the_number_of_classes_may_be_numpys():
    assert SegmentationSums.zeros(np.int64(3)).confusion.shape == (3, 3)
    with pytest.raises(ValueError, match=r"`num_classes` should be at least 1. Found"):
        SegmentationSums.zeros(0)


def test_the_number_of_classes_has_to_agree():
    with pytest.raises(ValueError, match=r"should have 3 classes\. Found 2"):
        SegmentationSums.zeros(3).add(one_hot([0], 2), jnp.array([0]))


def test_over_a_set_is_not_the_mean_over_batches():
    one = (one_hot([0, 0], 2), jnp.array([0, 0]))
    two = (one_hot([0, 1], 2), jnp.array([1, 1]))
    apart = [
        SegmentationSums.zeros(2).add(*batch).metrics()["miou"] for batch in (one, two)
    ]
    both = SegmentationSums.zeros(2).add(*one).add(*two).metrics()["miou"]
    assert np.mean(apart) == pytest.approx((1 + 1 / 4) / 2)
    assert both == pytest.approx((2 / 3 + 1 / 2) / 2)


def test_absent_is_one_of_two():
    with pytest.raises(ValueError, match='`absent` should be "skip" or "zero"'):
        SegmentationSums.zeros(2).metrics(absent="one")


# --- depth and normals


def test_depth_errors_by_hand():
    target = jnp.array([[[2.0], [0.0]], [[4.0], [0.5]]])
    prediction = jnp.array([[[3.0], [NAN]], [[4.0], [0.0]]])
    metrics = DepthSums.zeros().add(prediction, target).metrics()
    assert metrics["absolute_error"] == pytest.approx((1 + 0 + 0.5) / 3)
    assert metrics["relative_error"] == pytest.approx((0.5 + 0 + 1) / 3)


def tilted(degrees):
    """Vectors of several lengths at these angles to the z axis."""
    angle = np.deg2rad(np.array(degrees, np.float64))
    vectors = np.stack([np.sin(angle), 0 * angle, np.cos(angle)], axis=-1)
    lengths = 1 + np.arange(len(degrees))
    return jnp.array(vectors * lengths[:, None], jnp.float32)


def up(count):
    return jnp.broadcast_to(jnp.array([0.0, 0.0, 1.0]), (count, 3))


def test_angles_by_hand():
    degrees = [0.0, 5.0, 11.0, 11.5, 22.0, 25.0, 29.0, 31.0, 90.0, 180.0, 60.0]
    sums = NormalSums.zeros().add(tilted(degrees), up(11))
    metrics = sums.metrics()
    assert metrics["mean_angle"] == pytest.approx(np.mean(degrees), rel=1e-5)
    assert metrics["median_angle"] == pytest.approx(25.0, abs=0.1)
    assert metrics["<11.25"] == pytest.approx(100 * 3 / 11)
    assert metrics["<22.5"] == pytest.approx(100 * 5 / 11)
    assert metrics["<30"] == pytest.approx(100 * 7 / 11)
    assert int(sums.histogram.sum()) == 11


def test_unknown_normals_are_left_out_of_every_number():
    target = up(3).at[1].set(0)
    prediction = tilted([20.0, 0.0, 40.0]).at[1].set(NAN)
    metrics = NormalSums.zeros().add(prediction, target).metrics()
    assert metrics["mean_angle"] == pytest.approx(30.0, rel=1e-5)
    assert metrics["median_angle"] == pytest.approx(20.0, abs=0.1)
    assert metrics["<22.5"] == 50.0


@pytest.mark.parametrize("seed", range(3))
def test_median_is_right_to_a_bin(seed):
    degrees = np.random.default_rng(seed).gamma(2.0, 10.0, 501).clip(0, 179)
    median = NormalSums.zeros().add(tilted(degrees), up(501)).metrics()["median_angle"]
    assert median == pytest.approx(np.median(degrees), abs=0.1)


def test_a_vector_of_no_length_is_at_a_right_angle():
    metrics = NormalSums.zeros().add(jnp.zeros((1, 3)), up(1)).metrics()
    assert metrics["mean_angle"] == pytest.approx(90.0)


# --- all of them


def sums_and_batches():
    keys = jax.random.split(jax.random.key(0), 3)
    shape = (4, 2, 3, 5)  # four batches of two pictures
    label = jax.random.randint(keys[0], shape, -1, 3)
    vectors = jax.random.normal(keys[1], (*shape, 3))
    truth = jax.random.normal(keys[2], (*shape, 3))
    truth = jnp.where((label < 0)[..., None], 0, truth)
    return {
        "segmentation": (SegmentationSums.zeros(3), (vectors, label)),
        "depth": (DepthSums.zeros(), (vectors[..., :1], truth[..., :1])),
        "normal": (NormalSums.zeros(), (vectors, truth)),
    }


@pytest.mark.parametrize("name", ["segmentation", "depth", "normal"])
def test_inside_scan_and_all_at_once(name):
    """Batch by batch in a jitted scan gives what one big batch does."""
    zeros, batches = sums_and_batches()[name]

    @jax.jit
    def run(batches):
        return jax.lax.scan(lambda sums, b: (sums.add(*b), None), zeros, batches)[0]

    inside, at_once = run(batches), zeros.add(*batches)
    for one, two in zip(inside, at_once, strict=True):
        assert one.dtype == two.dtype
        np.testing.assert_allclose(one, two, rtol=1e-5)
    found = jax.jit(lambda sums: sums.metrics())(inside)
    for metric, value in at_once.metrics().items():
        assert found[metric] == pytest.approx(float(value), rel=1e-5)


@pytest.mark.parametrize("name", ["segmentation", "depth", "normal"])
def test_the_scan_carries_one_dtype_under_x64(x64, name):
    zeros, batches = sums_and_batches()[name]
    jax.lax.scan(lambda sums, b: (sums.add(*b), None), zeros, batches)
    half = jax.tree.map(
        lambda x: x.astype(jnp.bfloat16) if x.dtype == jnp.float64 else x, batches
    )
    out = jax.lax.scan(lambda sums, b: (sums.add(*b), None), zeros, half)[0]
    assert [x.dtype for x in out] == [x.dtype for x in zeros]


@pytest.mark.parametrize("name", ["segmentation", "depth", "normal"])
def test_metrics_of_nothing_are_nan(name):
    zeros, _ = sums_and_batches()[name]
    assert all(jnp.isnan(value) for value in zeros.metrics().values())
