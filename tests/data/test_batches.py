"""The order of the batches, and their contents."""

import numpy as np
import pytest

from auxjax.data import Images, batches


def data(n=10):
    return {"x": np.arange(n * 6).reshape(n, 2, 3), "y": np.arange(n)}


def seen(*args, **kwargs):
    return [batch["y"].tolist() for batch in batches(*args, **kwargs)]


def flat(lists):
    return [item for items in lists for item in items]


def test_leaves_stay_together():
    for batch in batches(data(), 3):
        assert batch["x"].shape == (3, 2, 3)
        np.testing.assert_array_equal(batch["x"], data()["x"][batch["y"]])


def test_one_pass_sees_each_sample_once():
    dropped = seen(data(), 4)
    assert [len(batch) for batch in dropped] == [4, 4]
    assert len(set(flat(dropped))) == 8
    whole = seen(data(), 4, drop_last=False)
    assert whole[:2] == dropped
    assert [len(batch) for batch in whole] == [4, 4, 2]
    assert sorted(flat(whole)) == list(range(10))
    assert seen(data(), 5) == seen(data(), 5, drop_last=False)
    assert seen(data(3), 5, drop_last=False) == [seen(data(3), 3)[0]]


def test_the_order_depends_on_seed_and_epoch_alone():
    orders = {
        (seed, epoch): tuple(flat(seen(data(30), 10, seed=seed, epoch=epoch)))
        for seed in range(3)
        for epoch in range(3)
    }
    assert len(set(orders.values())) == 9
    for (seed, epoch), order in orders.items():
        again = seen(data(30), 15, seed=seed, epoch=epoch)
        assert tuple(flat(again)) == order
    # Written down, as a run is resumed on other machines and after years.
    assert flat(seen(data(), 5, seed=1, epoch=2)) == [8, 5, 6, 0, 9, 1, 4, 3, 7, 2]


def test_without_shuffling():
    assert seen(data(), 5, shuffle=False, seed=3) == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]


@pytest.mark.parametrize("drop_last", [False, True])
def test_resuming(drop_last):
    whole = seen(data(), 3, seed=5, drop_last=drop_last)
    for start in range(len(whole) + 1):
        rest = seen(data(), 3, seed=5, start=start, drop_last=drop_last)
        assert rest == whole[start:]
    with pytest.raises(ValueError, match=f"at most {len(whole)}, .* {len(whole) + 1}."):
        batches(data(), 3, start=len(whole) + 1, drop_last=drop_last)


def test_named_tuples_and_absent_fields():
    images = Images(np.zeros((4, 2, 2, 1), np.uint8), np.arange(4, dtype=np.int32))
    (batch,) = batches(images, 4)
    assert isinstance(batch, Images)
    assert batch.coarse is None
    assert batch.images.dtype == np.uint8
    assert sorted(batch.labels.tolist()) == [0, 1, 2, 3]


def test_mapped_from_the_disk(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(20).reshape(10, 2))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert isinstance(mapped, np.memmap)
    (batch,) = batches((mapped,), 10, seed=1)
    assert type(batch[0]) is np.ndarray
    np.testing.assert_array_equal(np.sort(batch[0], 0), np.asarray(mapped))


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_batch_is_a_copy(shuffle):
    arrays = data()
    for batch in batches(arrays, 5, shuffle=shuffle):
        batch["y"] += 100
    np.testing.assert_array_equal(arrays["y"], np.arange(10))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "`batch_size` should be at least 1. Found 0."),
        ({"batch_size": 11}, "at most 10, the number of samples. Found 11."),
        ({"seed": -1}, "`seed` should be at least 0. Found -1."),
        ({"epoch": -1}, "`epoch` should be at least 0. Found -1."),
        ({"start": -1}, "`start` should be at least 0. Found -1."),
        ({"arrays": ()}, "a leading axis of samples. Found none."),
        ({"arrays": (np.float32(1),)}, "a leading axis of samples. Found"),
        ({"arrays": (np.zeros(2), "a")}, r"axis of samples. Found \['ndarray', 'str'"),
        ({"arrays": (np.zeros(2), np.zeros(3))}, r"of one length. Found \[2, 3\]."),
    ],
)
def test_refusals_come_with_the_call(arguments, message):
    with pytest.raises(ValueError, match=message):
        batches(**({"arrays": data(), "batch_size": 3} | arguments))
