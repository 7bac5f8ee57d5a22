"""SVHN, from MATLAB files written by SciPy."""

import numpy as np
import pytest
import scipy.io

from auxjax.data import _svhn, svhn


def arrays(n, seed):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (32, 32, 3, n), dtype=np.uint8)
    labels = (np.arange(n, dtype=np.uint8) + seed) % 10 + 1  # 1 to 10
    return {"X": images, "y": labels[:, None]}


def write(folder, train=None, test=None):
    folder.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(folder / "train_32x32.mat", train or arrays(12, 0))
    content = test or arrays(3, 7)
    scipy.io.savemat(folder / "test_32x32.mat", content, do_compression=True)


@pytest.mark.parametrize("folder", ["", "svhn", "SVHN"])
def test_svhn(tmp_path, folder):
    write(tmp_path / folder)
    train, test = svhn(tmp_path)
    assert train.labels.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2]
    assert test.labels.tolist() == [8, 9, 0]
    for part, written in ((train, arrays(12, 0)), (test, arrays(3, 7))):
        assert part.images.dtype == np.uint8
        assert part.labels.dtype == np.int32
        assert part.images.shape == (len(part.labels), 32, 32, 3)
        for i, image in enumerate(part.images):
            np.testing.assert_array_equal(image, written["X"][..., i])


def test_nothing_at_all(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"ufldl.stanford.edu/housenumbers"):
        svhn(tmp_path)


@pytest.mark.parametrize("name", ["train_32x32.mat", "test_32x32.mat"])
def test_a_missing_file(tmp_path, name):
    write(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"{name}` is missing. Expected"):
        svhn(tmp_path)


def test_more_images_than_can_be(tmp_path, monkeypatch):
    """Said before any is unpacked."""
    write(tmp_path)
    monkeypatch.setattr(_svhn, "_MOST", 11)
    monkeypatch.setattr(_svhn.scipy.io, "loadmat", None)
    with pytest.raises(ValueError, match=r"train_.* hold 1 to 11 images. Found 12."):
        svhn(tmp_path)


@pytest.mark.parametrize("cut", [0, 10, 0.5, 0.99])
@pytest.mark.parametrize("name", ["train_32x32.mat", "test_32x32.mat"])
def test_a_truncated_file(tmp_path, name, cut):
    write(tmp_path)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: int(cut * len(whole)) if cut < 1 else cut])
    with pytest.raises(ValueError, match=f"{name}` should be a whole MATLAB file"):
        svhn(tmp_path)


def test_another_file(tmp_path):
    write(tmp_path)
    (tmp_path / "train_32x32.mat").write_bytes(b"<html>not found</html>" * 20)
    with pytest.raises(ValueError, match="should be a whole MATLAB file"):
        svhn(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"X": None}, r"the variables X and y. Found \['y'\]"),
        ({"y": None}, r"the variables X and y. Found \['X'\]"),
        ({"X": np.zeros((32, 32, 12), np.uint8)}, r"\[32, 32, 3, n\] uint8"),
        ({"X": np.zeros((32, 32, 3, 12))}, r"Found \[32, 32, 3, 12\] double"),
        (
            {"X": np.zeros((32, 32, 3, 0), np.uint8)},
            "to 1,000,000 images. Found 0.",
        ),
        ({"y": np.array(["a"] * 12)}, "whole numbers as labels. Found char"),
        ({"y": np.ones((11, 1), np.uint8)}, "12 labels, one per image. Found 11"),
        ({"y": np.full((12, 1), 11, np.uint8)}, "labels from 1 to 10. Found 11 to 11"),
        ({"y": np.zeros((12, 1), np.uint8)}, "labels from 1 to 10. Found 0 to 0"),
        ({"y": np.full((12, 1), 1.5)}, "hold whole numbers as labels"),
    ],
)
def test_malformed_contents(tmp_path, change, said):
    content = {k: v for k, v in (arrays(12, 0) | change).items() if v is not None}
    write(tmp_path, train=content)
    with pytest.raises(ValueError, match=f"train_32x32.mat` should .*{said}"):
        svhn(tmp_path)
