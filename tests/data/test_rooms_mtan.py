"""Rooms written as NYUv2 are read as such."""

import jax
import numpy as np
import pytest

from auxjax.data._mtan_write import write_mtan
from auxjax.data._nyuv2 import nyuv2
from auxjax.data._rooms import ROOM_CLASSES, render_room
from auxjax.data._scenes import Scenes

SIZE = (12, 16)


@pytest.fixture(scope="module")
def splits():
    keys = jax.random.split(jax.random.key(1), 5)
    scenes = jax.jit(jax.vmap(lambda key: render_room(key, SIZE)))(keys)
    train, val = (
        jax.tree.map(lambda x, part=part: np.array(x[part]), scenes)
        for part in (slice(0, 3), slice(3, 5))
    )
    # By chance a few small pictures may look past every window.
    train.label[0, :2], train.depth[0, :2], train.normal[0, :2] = -1, 0, 0
    return train, val


def test_litter_is_not_in_the_way(splits, tmp_path, litter):
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
    litter(tmp_path)
    assert len(nyuv2(write_mtan(*splits, tmp_path))[0].images) == 3


@pytest.mark.parametrize("num_classes", [len(ROOM_CLASSES), 13])
def test_written_and_read_back(splits, tmp_path, num_classes):
    root = write_mtan(*splits, tmp_path / "made" / "nyuv2")
    assert len(list(root.rglob("*.npy"))) == 5 * 4
    read = nyuv2(root, num_classes=num_classes)
    for found, expected in zip(read, splits, strict=True):
        for field in ("images", "label", "depth", "normal"):
            array = getattr(found, field)
            np.testing.assert_array_equal(array, getattr(expected, field))
            assert array.dtype == getattr(expected, field).dtype
        assert found.part is None


def test_the_layout_is_the_published_one(splits, tmp_path):
    root = write_mtan(*splits, tmp_path)
    shapes = {
        "image": (*SIZE, 3),
        "label": SIZE,
        "depth": (*SIZE, 1),
        "normal": (*SIZE, 3),
    }
    for split, count in (("train", 3), ("val", 2)):
        for kind, shape in shapes.items():
            names = {path.name for path in (root / split / kind).iterdir()}
            assert names == {f"{i}.npy" for i in range(count)}
            assert np.load(root / split / kind / "1.npy").shape == shape
    np.testing.assert_array_equal(
        np.load(root / "val" / "depth" / "1.npy"), splits[1].depth[1]
    )


def test_nothing_is_written_over_or_by_halves(splits, tmp_path):
    train, val = splits
    for bad, message in (
        (val._replace(normal=None), "the layout has normals"),
        (val._replace(label=val.label[:1]), r"as many .* Found \[2, 1, 2, 2\]"),
    ):
        with pytest.raises(ValueError, match=message):
            write_mtan(train, bad, tmp_path)
        assert list(tmp_path.iterdir()) == []
    (tmp_path / "val").mkdir()
    (tmp_path / "val" / "mine").write_text("keep")
    with pytest.raises(FileExistsError, match="val` should be empty"):
        write_mtan(train, val, tmp_path)
    assert not (tmp_path / "train").exists()
    assert isinstance(train, Scenes)
