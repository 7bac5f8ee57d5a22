"""NYUv2 in MTAN's layout, written here and read back."""

import io
import os

import numpy as np
import pytest

from auxjax.data import nyuv2

H, W = 3, 4
KINDS = ("image", "label", "depth", "normal")


def scene(seed):
    rng = np.random.default_rng(seed)
    return {
        "image": rng.uniform(0, 1, (H, W, 3)),
        "label": rng.integers(-1, 13, (H, W)).astype(np.float64),
        "depth": rng.uniform(0, 10, (H, W, 1)),
        "normal": rng.uniform(-1, 1, (H, W, 3)),
    }


def write(root, counts=(12, 2), dtype=np.float64):
    scenes = {}
    for split, count in zip(("train", "val"), counts, strict=True):
        scenes[split] = [scene(100 * len(split) + i) for i in range(count)]
        for kind in KINDS:
            (root / split / kind).mkdir(parents=True)
            for i, content in enumerate(scenes[split]):
                np.save(root / split / kind / f"{i}.npy", content[kind].astype(dtype))
    return scenes


@pytest.mark.parametrize("folder", ["", "nyuv2", "NYUv2"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_what_is_written_is_read(tmp_path, folder, dtype):
    """Twelve scenes: 10 comes after 9, not after 1."""
    scenes = write(tmp_path / folder, dtype=dtype)
    for part, split in zip(nyuv2(tmp_path), ("train", "val"), strict=True):
        n = len(scenes[split])
        assert part.images.shape == part.normal.shape == (n, H, W, 3)
        assert part.label.shape == (n, H, W)
        assert part.depth.shape == (n, H, W, 1)
        assert part.label.dtype == np.int32
        assert part.part is None
        for field, kind in (("images", "image"), ("depth", "depth"), ("normal",) * 2):
            array = getattr(part, field)
            assert array.dtype == np.float32
            for i, content in enumerate(scenes[split]):
                np.testing.assert_array_equal(array[i], content[kind].astype("f4"))
        for i, content in enumerate(scenes[split]):
            np.testing.assert_array_equal(part.label[i], content["label"])


def test_other_dtypes(tmp_path):
    write(tmp_path)
    image = np.arange(H * W * 3, dtype=np.uint8).reshape(H, W, 3) * 7
    np.save(tmp_path / "train/image/0.npy", image)
    np.save(tmp_path / "train/label/0.npy", np.full((H, W), 12, np.int8))
    np.save(tmp_path / "train/depth/0.npy", np.full((H, W, 1), 3, ">u2"))
    train, _ = nyuv2(tmp_path)
    np.testing.assert_allclose(train.images[0], image / 255, rtol=1e-6)
    assert (train.label[0] == 12).all()
    assert (train.depth[0] == 3).all()
    assert train.images.dtype == train.depth.dtype == np.float32


def test_progress(tmp_path):
    write(tmp_path, (2, 1))
    seen = []
    nyuv2(tmp_path, progress=lambda *done: seen.append(done))
    assert seen == [(i + 1, 12) for i in range(12)]


def test_hidden_files_do_not_count(tmp_path):
    write(tmp_path)
    (tmp_path / "train/image/.DS_Store").write_bytes(b"?")
    assert len(nyuv2(tmp_path)[0].images) == 12


def test_what_systems_leave_does_not_count(tmp_path, litter):
    write(tmp_path)
    litter(tmp_path)
    train, _ = nyuv2(tmp_path, num_classes=np.int64(13))
    assert len(train.images) == 12


def test_a_folder_under_the_name_of_a_file(tmp_path):
    write(tmp_path, (2, 2))
    path = tmp_path / "train" / "depth" / "1.npy"
    path.unlink()
    path.mkdir()
    assert f"`{path}` should be there, as 1 other" in said(tmp_path, FileNotFoundError)


@pytest.mark.parametrize("unknown", [-1, 255])
@pytest.mark.parametrize(
    "dtype", [*("u1", "i1", "u2", ">i2", "i4", "u4", "i8", "u8", "f4", "f8")]
)
def test_labels_of_any_dtype(tmp_path, dtype, unknown):
    """−1 where it can be written, 255 where that can: both are unknown."""
    dtype = np.dtype(dtype)
    if (dtype.kind == "u" and unknown < 0) or (dtype == np.int8 and unknown > 127):
        return
    write(tmp_path, (1, 1))
    label = np.arange(H * W).reshape(H, W)
    label[0, 1] = unknown
    np.save(tmp_path / "train/label/0.npy", label.astype(dtype))
    found = nyuv2(tmp_path)[0].label[0]
    np.testing.assert_array_equal(found, np.where(label == unknown, -1, label))
    assert found.dtype == np.int32


def test_255_is_a_class_where_there_are_that_many(tmp_path):
    write(tmp_path, (1, 1))
    label = np.full((H, W), 255, np.uint8)
    np.save(tmp_path / "train/label/0.npy", label)
    assert (nyuv2(tmp_path, num_classes=256)[0].label == 255).all()
    assert (nyuv2(tmp_path, num_classes=255)[0].label == -1).all()


def said(tmp_path, kind=ValueError, **arguments):
    with pytest.raises(kind) as error:
        nyuv2(tmp_path, **arguments)
    return str(error.value)


def test_nothing_at_all(tmp_path):
    message = said(tmp_path, FileNotFoundError)
    assert f"  {tmp_path / 'nyuv2'}\n" in message
    assert "{train,val}/{image,label,depth,normal}/{0,1,…}.npy" in message
    assert "https://github.com/lorenmt/mtan" in message


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("split", ["train", "val"])
def test_a_missing_folder(tmp_path, split, kind):
    write(tmp_path, (2, 2))
    (tmp_path / split / kind).rename(tmp_path / "elsewhere")
    message = said(tmp_path, FileNotFoundError)
    assert f"`{tmp_path / split / kind}` is missing. Expected: {{train" in message


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("number", [0, 1, 3])
def test_a_missing_file(tmp_path, kind, number):
    """The first, one in the middle, the last."""
    write(tmp_path, (4, 2))
    path = tmp_path / "train" / kind / f"{number}.npy"
    path.unlink()
    assert f"`{path}` should be there, as 3 others" in said(tmp_path, FileNotFoundError)


def test_several_missing_files(tmp_path):
    write(tmp_path, (4, 2))
    for number in (1, 2):
        (tmp_path / "train" / "depth" / f"{number}.npy").unlink()
    assert "depth/1.npy` and 1 more should be" in said(tmp_path, FileNotFoundError)


def test_a_number_that_all_lack(tmp_path):
    write(tmp_path, (4, 2))
    for kind in KINDS:
        (tmp_path / "train" / kind / "1.npy").unlink()
    assert "train/image/1.npy` should be" in said(tmp_path, FileNotFoundError)


def test_a_number_far_off(tmp_path):
    write(tmp_path, (2, 2))
    for kind in KINDS:
        folder = tmp_path / "val" / kind
        os.rename(folder / "1.npy", folder / "99999999999.npy")
    assert "val/image/1.npy` should be" in said(tmp_path, FileNotFoundError)


@pytest.mark.parametrize("name", ["a.npy", "00.npy", "0.png", "-1.npy", "0.npy.part"])
def test_a_strange_name(tmp_path, name):
    write(tmp_path, (2, 2))
    (tmp_path / "train" / "depth" / name).write_bytes(b"")
    assert f"hold only 0.npy, 1.npy, …. Found {name}." in said(tmp_path)


def test_an_empty_folder(tmp_path):
    write(tmp_path, (2, 0))
    assert f"`{tmp_path / 'val' / 'image'}` should hold 0.npy" in said(tmp_path)


def test_truncated_files(tmp_path):
    write(tmp_path, (2, 2))
    path = tmp_path / "train" / "normal" / "1.npy"
    whole = path.read_bytes()
    for content in (b"", whole[:5], whole[:60], whole[:-1], b"<html>"):
        path.write_bytes(content)
        assert f"`{path}` should be a whole .npy file" in said(tmp_path)


def npz():
    buffer = io.BytesIO()
    np.savez(buffer, a=np.zeros(3))
    return buffer.getvalue()


def test_files_of_something_else(tmp_path):
    write(tmp_path, (2, 2))
    path = tmp_path / "train" / "label" / "1.npy"
    np.save(path, np.array([[1, "a"]], object), allow_pickle=True)
    assert f"`{path}` should be a whole .npy file of numbers" in said(tmp_path)
    np.save(path, np.full((H, W), "a"))
    assert f"`{path}` should hold numbers. Found dtype <U1." in said(tmp_path)
    path.write_bytes(npz())
    assert f"`{path}` should be a whole .npy file of numbers" in said(tmp_path)


@pytest.mark.parametrize(
    ("kind", "content", "message"),
    [
        ("image", np.zeros((3, H, W)), "have the shape [H, W, 3]. Found [3, 3, 4]."),
        ("image", np.zeros((H, W)), "have the shape [H, W, 3]. Found [3, 4]."),
        ("image", np.zeros((0, W, 3)), "have the shape [H, W, 3]. Found [0, 4, 3]."),
        ("image", np.full((H, W, 3), 255.0), "values from 0 to 1. Found 255 to 255."),
        ("image", np.full((H, W, 3), np.nan), "values from 0 to 1. Found nan to nan."),
        ("image", np.zeros((H, W + 1, 3)), "be 3 × 4 pixels, as the others. Found 3"),
        ("label", np.zeros((H, W, 1)), "have the shape [H, W]. Found [3, 4, 1]."),
        ("label", np.full((H, W), 13), "labels from -1 to 12. Found 13 to 13."),
        ("label", np.full((H, W), -2), "labels from -1 to 12. Found -2 to -2."),
        ("label", np.full((H, W), 0.5), "hold whole numbers. Found fractions."),
        ("label", np.full((H, W), np.nan), "labels from -1 to 12. Found nan to nan."),
        ("label", np.zeros((H + 1, W)), "be 3 × 4 pixels, as the others. Found 4 × 4"),
        ("depth", np.zeros((H, W)), "have the shape [H, W, 1]. Found [3, 4]."),
        ("depth", np.full((H, W, 1), np.inf), "finite numbers. Found NaN or infinity."),
        ("normal", np.zeros((H, W, 1)), "have the shape [H, W, 3]. Found [3, 4, 1]."),
        ("normal", np.full((H, W, 3), np.nan), "finite numbers. Found NaN or"),
    ],
)
def test_malformed_contents(tmp_path, kind, content, message):
    write(tmp_path, (2, 2))
    path = tmp_path / "train" / kind / "1.npy"
    np.save(path, content)
    assert f"`{path}` should " in said(tmp_path)
    assert message in said(tmp_path)


def test_the_first_scene_of_one_kind_may_differ_in_size(tmp_path):
    write(tmp_path, (1, 1))
    np.save(tmp_path / "val/depth/0.npy", np.zeros((H, W + 2, 1)))
    assert "val/depth/0.npy` should be 3 × 4 pixels" in said(tmp_path)


def test_the_number_of_classes(tmp_path):
    write(tmp_path, (1, 1))
    np.save(tmp_path / "train/label/0.npy", np.full((H, W), 39))
    np.save(tmp_path / "val/label/0.npy", np.full((H, W), 38))
    train, _ = nyuv2(tmp_path, num_classes=40)
    assert train.label.max() == 39
    assert "labels from -1 to 38" in said(tmp_path, num_classes=39)
