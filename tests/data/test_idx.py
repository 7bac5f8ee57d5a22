"""MNIST and Fashion-MNIST, from files as they are published."""

import gzip
import struct

import numpy as np
import pytest

from auxjax.data import _unzip, fashion_mnist, mnist

STEMS = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def idx(array):
    """An idx file: two zero bytes, the type, the number of axes, sizes, values."""
    header = struct.pack(">BBBB", 0, 0, 8, array.ndim)
    return header + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def contents(seed=0, sizes=(5, 3), side=4):
    rng = np.random.default_rng(seed)
    arrays = {}
    for part, n in zip(("train", "t10k"), sizes, strict=True):
        arrays[f"{part}-images-idx3-ubyte"] = rng.integers(
            0, 256, (n, side, side + 1), dtype=np.uint8
        )
        arrays[f"{part}-labels-idx1-ubyte"] = rng.integers(0, 10, n, dtype=np.uint8)
    return arrays


def write(folder, arrays, *, dot=False, gz=False):
    folder.mkdir(parents=True, exist_ok=True)
    for stem, array in arrays.items():
        name = stem.replace("-idx", ".idx") if dot else stem
        content = gzip.compress(idx(array)) if gz else idx(array)
        (folder / f"{name}{'.gz' if gz else ''}").write_bytes(content)


def check(parts, arrays):
    for part, name in zip(parts, ("train", "t10k"), strict=True):
        images = arrays[f"{name}-images-idx3-ubyte"]
        labels = arrays[f"{name}-labels-idx1-ubyte"]
        assert part.images.dtype == np.uint8
        assert part.labels.dtype == np.int32
        np.testing.assert_array_equal(part.images, images[..., None])
        np.testing.assert_array_equal(part.labels, labels)
        assert part.coarse is None


@pytest.mark.parametrize("dot", [False, True])
@pytest.mark.parametrize("gz", [False, True])
@pytest.mark.parametrize("folder", ["", "mnist", "MNIST/raw", "MNIST"])
def test_mnist_in_every_spelling(tmp_path, dot, gz, folder):
    arrays = contents()
    write(tmp_path / folder, arrays, dot=dot, gz=gz)
    check(mnist(tmp_path), arrays)


@pytest.mark.parametrize("folder", ["", "fashion-mnist", "FashionMNIST/raw"])
def test_fashion_in_every_folder(tmp_path, folder):
    arrays = contents(1)
    write(tmp_path / folder, arrays, gz=True)
    check(fashion_mnist(tmp_path), arrays)


def test_the_two_do_not_mix_in_one_folder(tmp_path):
    digits, clothes = contents(0), contents(1)
    write(tmp_path / "MNIST/raw", digits)
    write(tmp_path / "FashionMNIST/raw", clothes)
    check(mnist(tmp_path), digits)
    check(fashion_mnist(tmp_path), clothes)


def test_arrays_may_be_written_to(tmp_path):
    write(tmp_path, contents())
    train, _ = mnist(tmp_path)
    assert train.images.flags.writeable


def test_the_debian_package_is_found_by_itself(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError) as error:
        mnist(tmp_path)
    assert "/usr/share" not in str(error.value)
    arrays = contents()
    write(tmp_path / "debian", arrays, gz=True)
    import auxjax.data._idx as module

    assert module._DEBIAN_FASHION == "/usr/share/datasets/fashion-mnist"
    monkeypatch.setattr(module, "_DEBIAN_FASHION", str(tmp_path / "debian"))
    check(fashion_mnist(), arrays)


@pytest.mark.parametrize("stem", STEMS)
def test_a_missing_file_is_named(tmp_path, stem):
    write(tmp_path, contents())
    (tmp_path / stem).unlink()
    with pytest.raises(FileNotFoundError, match=f"{stem}` or its .gz is missing. Exp"):
        mnist(tmp_path)


def test_nothing_at_all(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        mnist(tmp_path)
    message = str(error.value)
    assert f"  {tmp_path}\n" in message
    assert f"  {tmp_path}/MNIST/raw\n" in message
    assert "train-images-idx3-ubyte" in message
    assert "http://yann.lecun.com/exdb/mnist/" in message


def broken(tmp_path, stem, content, *, name=None):
    """The message about a folder in which one file is another."""
    write(tmp_path, contents())
    (tmp_path / stem).unlink()
    path = tmp_path / (name or stem)
    path.write_bytes(content)
    with pytest.raises(ValueError) as error:
        mnist(tmp_path)
    assert f"`{path}`" in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("stem", STEMS)
def test_truncated(tmp_path, stem):
    whole = idx(contents()[stem])
    size = len(whole) - 16 if "images" in stem else len(whole) - 8
    message = broken(tmp_path, stem, whole[:-1])
    assert f"hold {size} bytes for its shape" in message
    assert f"Found {size - 1}." in message


def test_too_long(tmp_path):
    assert "Found 101" in broken(tmp_path, STEMS[0], idx(contents()[STEMS[0]]) + b"\0")


@pytest.mark.parametrize("cut", [0.5, 0.99])
def test_a_truncated_gzip_file(tmp_path, cut):
    whole = gzip.compress(idx(contents()[STEMS[0]]))
    content = whole[: int(cut * len(whole))]
    message = broken(tmp_path, STEMS[0], content, name=STEMS[0] + ".gz")
    assert "should be a whole gzip file" in message


def test_a_corrupt_gzip_file(tmp_path):
    whole = bytearray(gzip.compress(idx(contents()[STEMS[0]])))
    whole[len(whole) // 2] ^= 0xFF
    message = broken(tmp_path, STEMS[0], bytes(whole), name=STEMS[0] + ".gz")
    assert "should be a whole gzip file" in message
    (tmp_path / (STEMS[0] + ".gz")).write_bytes(b"<html>not found</html>")
    with pytest.raises(ValueError, match=r"begin with the bytes 00000803. Found 3c6"):
        mnist(tmp_path)


def test_a_gz_that_unpacks_to_too_much(tmp_path, monkeypatch):
    write(tmp_path, contents(), gz=True)
    monkeypatch.setattr(_unzip, "LARGEST", 50)
    with pytest.raises(ValueError, match=f"{STEMS[0]}.gz` should unpack to at most 50"):
        mnist(tmp_path)


def test_a_folder_under_the_name_of_a_file(tmp_path):
    """As one archive of MNIST has it, with the file itself beside."""
    for name in (STEMS[0], STEMS[1].replace("-idx", ".idx")):
        (tmp_path / name).mkdir()
    with pytest.raises(FileNotFoundError, match="The data was not found"):
        mnist(tmp_path)
    arrays = contents()
    write(tmp_path, arrays, gz=True)
    check(mnist(tmp_path), arrays)


def test_another_magic(tmp_path):
    message = broken(tmp_path, STEMS[0], b"<html>")
    assert "begin with the bytes 00000803. Found 3c68746d." in message
    assert "Found nothing." in broken(tmp_path, STEMS[1], b"")
    labels = idx(contents()[STEMS[1]])
    assert "Found 00000801." in broken(tmp_path, STEMS[0], labels)


def test_labels_of_another_number(tmp_path):
    labels = idx(np.zeros(4, np.uint8))
    message = broken(tmp_path, STEMS[1], labels)
    assert "hold 5 labels, one per image. Found shape [4]." in message


def test_a_label_out_of_range(tmp_path):
    labels = idx(np.array([0, 1, 10, 2, 3], np.uint8))
    message = broken(tmp_path, STEMS[1], labels)
    assert "labels from 0 to 9. Found 0 to 10." in message


def test_no_image(tmp_path):
    message = broken(tmp_path, STEMS[0], idx(np.zeros((0, 4, 5), np.uint8)))
    assert "at least one image or label. Found shape [0, 4, 5]." in message


def test_test_images_of_another_size(tmp_path):
    write(tmp_path, contents() | {STEMS[2]: np.zeros((3, 6, 6), np.uint8)})
    with pytest.raises(ValueError, match=r"of one size. Found \(4, 5\) and \(6, 6\)"):
        mnist(tmp_path)
