"""CIFAR, from archives and folders pickled as Python 2 pickled the published ones."""

import codecs
import gc
import io
import os
import pickle
import struct
import tarfile
import weakref

import numpy as np
import pytest

from auxjax.data import CIFAR100_COARSE_NAMES, Images, _unzip, cifar10, cifar100
from auxjax.data import cifar100_domains as domains
from auxjax.data._domains import _COARSE
from auxjax.data._pickles import _ArraysOnly, read_pickle


def py2(value):
    """A value as Python 2's protocol 2 writes it: byte strings, ints, old NumPy."""
    if isinstance(value, bytes):
        return b"T" + struct.pack("<i", len(value)) + value
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    if isinstance(value, list):
        return b"](" + b"".join(map(py2, value)) + b"e"
    if isinstance(value, dict):
        items = b"".join(py2(key) + py2(item) for key, item in value.items())
        return b"}(" + items + b"u"
    shape, dtype = shape_and_dtype(value)
    return (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n"
        + py2(0) + b"\x85" + py2(b"b") + b"\x87R"
        + b"(" + py2(1) + shape + dtype + b"\x89" + py2(value.tobytes()) + b"tb"
    )  # fmt: skip


def shape_and_dtype(value):
    shape = b"(" + b"".join(map(py2, value.shape)) + b"t"
    dtype = b"cnumpy\ndtype\n" + py2(b"u1") + py2(0) + py2(1) + b"\x87R"
    dtype += b"(" + py2(3) + py2(b"|") + b"NNN" + py2(-1) + py2(-1) + py2(0) + b"tb"
    return shape, dtype


def py2_pickle(value):
    return b"\x80\x02" + py2(value) + b"."


def pixels(rng, n):
    return rng.integers(0, 256, (n, 3072), dtype=np.uint8)


def ten(n=2):
    """The batches of CIFAR-10, `n` images each."""
    rng = np.random.default_rng(0)
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    return {
        name: {
            b"batch_label": b"training batch",
            b"labels": rng.integers(0, 10, n).tolist(),
            b"data": pixels(rng, n),
            b"filenames": [b"leptodactylus_pentadactylus_s_000004.png"] * n,
        }
        for name in names
    }


COARSE = {0: 4, 1: 1, 8: 18, 72: 0, 99: 13}  # apple, fish, bicycle, seal, worm


def hundred():
    rng = np.random.default_rng(1)
    return {
        name: {
            b"filenames": [b"a.png"] * len(fine),
            b"fine_labels": fine,
            b"coarse_labels": [COARSE[k] for k in fine],
            b"data": pixels(rng, len(fine)),
        }
        for name, fine in {"train": [0, 99, 8, 1], "test": [72, 1]}.items()
    }


def write_folder(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        raw = content if isinstance(content, bytes) else py2_pickle(content)
        (folder / name).write_bytes(raw)


def write_archive(path, folder, files):
    with tarfile.open(path, "w:gz") as archive:
        directory = tarfile.TarInfo(folder)
        directory.type = tarfile.DIRTYPE
        archive.addfile(directory)
        for name, content in {"readme.html": b"<html>", **files}.items():
            raw = content if isinstance(content, bytes) else py2_pickle(content)
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(raw)
            archive.addfile(member, io.BytesIO(raw))


TEN = "cifar-10-batches-py", "cifar-10-python.tar.gz", cifar10, ten
HUNDRED = "cifar-100-python", "cifar-100-python.tar.gz", cifar100, hundred


def test_the_writer_above_writes_what_pickle_reads():
    batch = ten()["test_batch"]
    plain = {key: value for key, value in batch.items() if key != b"data"}
    assert pickle.loads(py2_pickle(plain), encoding="bytes") == plain


def picture(row):
    """1024 reds, then greens, then blues, row by row."""
    return np.stack([row[:1024], row[1024:2048], row[2048:]], 1).reshape(32, 32, 3)


def write(tmp_path, kind, files, as_archive):
    folder, archive, _, _ = kind
    if as_archive:
        write_archive(tmp_path / archive, folder, files)
        return tmp_path / archive
    write_folder(tmp_path / folder, files)
    return tmp_path / folder


@pytest.mark.parametrize("as_archive", [False, True])
def test_cifar10(tmp_path, as_archive):
    files = ten()
    write(tmp_path, TEN, files, as_archive)
    train, test = cifar10(tmp_path)
    assert train.images.shape == (10, 32, 32, 3)
    assert test.images.shape == (2, 32, 32, 3)
    assert train.images.dtype == np.uint8
    assert train.labels.dtype == np.int32
    batches = list(files.values())
    assert train.labels.tolist() == [
        k for batch in batches[:5] for k in batch[b"labels"]
    ]
    assert test.labels.tolist() == batches[5][b"labels"]
    for i, image in enumerate(train.images):
        row = batches[i // 2][b"data"][i % 2]
        np.testing.assert_array_equal(image, picture(row))
    assert train.coarse is None


@pytest.mark.parametrize("as_archive", [False, True])
def test_cifar100(tmp_path, as_archive):
    files = hundred()
    write(tmp_path, HUNDRED, files, as_archive)
    for part, name in zip(cifar100(tmp_path), ("train", "test"), strict=True):
        assert part.labels.tolist() == files[name][b"fine_labels"]
        assert part.coarse.tolist() == files[name][b"coarse_labels"]
        assert part.coarse.dtype == np.int32
        for image, row in zip(part.images, files[name][b"data"], strict=True):
            np.testing.assert_array_equal(image, picture(row))


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("order", ["C", "F", "read-only", "every second"])
def test_pickles_of_python_3(tmp_path, protocol, order):
    """Read and written again by any protocol, arrays as they happened to lie."""
    files = ten()
    again = {}
    for name, batch in files.items():
        data = np.array(batch[b"data"], order="F" if order == "F" else "C")
        if order == "every second":
            data = np.repeat(data, 2, axis=0)[::2]
        data.flags.writeable = order != "read-only"
        more = {b"data": data, b"labels": np.array(batch[b"labels"])}
        again[name] = pickle.dumps(
            {k.decode(): v for k, v in (batch | more).items()}, protocol
        )
    write(tmp_path, TEN, again, False)
    train, test = cifar10(tmp_path / TEN[0])
    assert train.labels[:2].tolist() == files["data_batch_1"][b"labels"]
    for image, row in zip(test.images, files["test_batch"][b"data"], strict=True):
        np.testing.assert_array_equal(image, picture(row))


@pytest.mark.parametrize("core", ["numpy.core", "numpy._core"])
def test_protocol_5_of_either_numpy(core):
    data = pixels(np.random.default_rng(0), 2)
    shape, dtype = shape_and_dtype(data)
    buffer = b"\x96" + struct.pack("<Q", data.size) + data.tobytes()
    call = f"c{core}.numeric\n_frombuffer\n(".encode() + buffer + dtype + shape
    content = b"\x80\x05}" + py2(b"data") + call + b"X\1\0\0\0CtRs."
    np.testing.assert_array_equal(read_pickle(content, "x")["data"], data)


def test_arrays_of_any_numbers_come_back_as_they_were():
    values = {
        "big-endian": np.arange(5, dtype=">i8"),
        "little-endian": np.arange(5, dtype="<i8"),
        "floats": np.arange(6.0).reshape(2, 3),
        "axes": np.arange(24).reshape(2, 3, 4).transpose(2, 0, 1),
        "bools": np.array([True, False]),
    }
    for protocol in range(2, 6):
        found = read_pickle(pickle.dumps(values, protocol), "x")
        for name, value in values.items():
            assert found[name].dtype == value.dtype
            np.testing.assert_array_equal(found[name], value)


@pytest.mark.parametrize("kind", [TEN, HUNDRED], ids=["10", "100"])
def test_nothing_at_all(tmp_path, kind):
    folder, archive, read, _ = kind
    with pytest.raises(FileNotFoundError) as error:
        read(tmp_path)
    for name in (folder, archive):
        assert f"  {tmp_path / name}\n" in str(error.value)
    assert "https://www.cs.toronto.edu/~kriz/cifar.html" in str(error.value)


@pytest.mark.parametrize("as_archive", [False, True])
@pytest.mark.parametrize("kind", [TEN, HUNDRED], ids=["10", "100"])
def test_a_missing_member(tmp_path, kind, as_archive):
    folder, archive, read, make = kind
    files = make()
    gone = list(files)[-1]
    del files[gone]
    write(tmp_path, kind, files, as_archive)
    with pytest.raises(FileNotFoundError, match=f"{folder}/{gone}` is missing") as e:
        read(tmp_path)
    assert archive in str(e.value)


def message(tmp_path, kind, files, as_archive=False):
    """What is said of some files."""
    write(tmp_path, kind, files, as_archive)
    with pytest.raises(ValueError) as error:
        kind[2](tmp_path)
    return str(error.value)


@pytest.mark.parametrize("cut", [20, 0.3, 0.9])
def test_a_truncated_archive(tmp_path, cut):
    path = write(tmp_path, TEN, ten(), True)
    whole = path.read_bytes()
    path.write_bytes(whole[: cut if cut > 1 else int(cut * len(whole))])
    with pytest.raises(ValueError, match=r"should be a whole .tar.gz archive") as error:
        cifar10(tmp_path)
    assert str(path) in str(error.value)


def test_an_archive_that_is_none(tmp_path):
    (tmp_path / TEN[1]).write_bytes(b"<html>not found</html>")
    with pytest.raises(ValueError, match=r"should be a whole .tar.gz archive"):
        cifar10(tmp_path)


@pytest.mark.parametrize("cut", [0, 1, 100, -1])
@pytest.mark.parametrize("as_archive", [False, True])
def test_a_truncated_pickle(tmp_path, cut, as_archive):
    files = ten()
    files["data_batch_3"] = py2_pickle(files["data_batch_3"])[:cut]
    said = message(tmp_path, TEN, files, as_archive)
    assert f"{TEN[0]}/data_batch_3` should be a whole pickle" in said


class Hostile:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (self.folder,)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_hostile_pickle_does_nothing(tmp_path, protocol):
    made = tmp_path / "made"
    content = pickle.dumps({"data": Hostile(str(made)), "labels": []}, protocol)
    said = message(tmp_path, TEN, ten() | {"test_batch": content})
    assert f"Found a call of {os.name}.mkdir." in said
    assert not made.exists()
    pickle.loads(content)
    assert made.exists()  # so it would have


@pytest.mark.parametrize("name", ["builtins\neval", "numpy\nload", "numpy\nndarray.x"])
def test_other_names_are_refused(tmp_path, name):
    content = b"\x80\x02c" + name.encode() + b"\n."
    said = message(tmp_path, TEN, ten() | {"test_batch": content})
    assert f"Found a call of {name.replace(chr(10), '.')}." in said


NAMES = [
    *("numpy\nndarray", "numpy\ndtype", "_codecs\nencode"),
    *("numpy.core.multiarray\n_reconstruct", "numpy._core.multiarray\n_reconstruct"),
    *("numpy.core.numeric\n_frombuffer", "numpy._core.numeric\n_frombuffer"),
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("slots", [False, True])
def test_no_attribute_of_a_function_is_set(tmp_path, name, slots):
    """BUILD would set it, and it would stay set after the file is forgotten."""
    state = py2({b"note": b"was here"})
    state = b"N" + state + b"\x86" if slots else state
    content = b"\x80\x02}" + py2(b"x") + b"c" + name.encode() + b"\n" + state + b"bs."
    said = message(tmp_path, TEN, ten() | {"test_batch": content})
    assert f"Found a state that is set in {name.replace(chr(10), '.')}." in said
    assert f"{TEN[0]}/test_batch`" in said


@pytest.mark.parametrize(
    ("content", "said"),
    [
        # A function, a type, and what is not an array's own state.
        (
            b"cnumpy\ndtype\n",
            "an array, or numbers and strings, as b'x'. Found Fun",
        ),
        (b"](cnumpy\nndarray\ne", "numbers and strings, as b'x'. Found Function"),
        (
            b"cnumpy\nndarray\n)R",
            "whole pickle of plain arrays. Found a call of numpy.nd",
        ),
        (b"cnumpy\nndarray\n)\x81", "be a whole pickle of plain arrays. Found NEWOBJ"),
        (b"cnumpy\ndtype\n" + py2(b"O8") + b"\x85R", "arrays. Found the dtype 'O8'."),
        (b"cnumpy\ndtype\n" + py2(b"u1") + b"\x85R}b", "be a whole pickle"),
        (b"](](ee", "hold an array, or numbers and strings, as b'x'. Found list."),
        (b"}", "hold an array, or numbers and strings, as b'x'. Found dict."),
    ],
)
def test_nothing_but_arrays_numbers_and_strings(tmp_path, content, said):
    content = b"\x80\x02}" + py2(b"x") + content + b"s."
    assert said in message(tmp_path, TEN, ten() | {"test_batch": content})


def test_keys_are_strings(tmp_path):
    content = pickle.dumps({("data", 1): 2}, 2)
    said = message(tmp_path, TEN, ten() | {"test_batch": content})
    assert "test_batch` should have strings as keys. Found tuple." in said


class Again:
    """The same text as bytes once more, for a few bytes of the file."""

    def __init__(self, text):
        self.text = text

    def __reduce__(self):
        return codecs.encode, (self.text, "latin1")


def test_a_pickle_does_not_grow(tmp_path):
    text = 300 * "x"
    content = pickle.dumps({"x": [Again(text)]}, 2)
    assert read_pickle(content, "x") == {"x": [text.encode()]}
    content = pickle.dumps({"x": [Again(text) for _ in range(100)]}, 2)
    assert len(content) < 20 * len(text)
    said = message(tmp_path, TEN, ten() | {"test_batch": content})
    assert "Found more bytes than the file has." in said


def test_a_pickle_is_forgotten_when_it_is_read():
    """At once: six of them together are a quarter of a gigabyte."""
    gc.disable()
    try:
        unpickler = _ArraysOnly(pickle.dumps({"x": 1}, 2))
        unpickler.load()
        forgotten = weakref.ref(unpickler)
        del unpickler
        assert forgotten() is None
    finally:
        gc.enable()


LINKS = {
    "a symbolic link": tarfile.SYMTYPE,
    "a hard link": tarfile.LNKTYPE,
    "a pipe": tarfile.FIFOTYPE,
    "a sparse file": tarfile.GNUTYPE_SPARSE,
}


@pytest.mark.parametrize("name", ["data_batch_2", "readme.html", "elsewhere"])
@pytest.mark.parametrize("kind", LINKS)
def test_links_in_an_archive_are_refused(tmp_path, kind, name):
    """To a file beside it, even where nobody would have read it."""
    path = tmp_path / TEN[1]
    files = ten()
    files.pop(name, None)
    write_archive(path, TEN[0], files)
    plain = io.BytesIO(_unzip.unzipped(path, "").getvalue())
    with tarfile.open(fileobj=plain, mode="a:") as archive:
        member = tarfile.TarInfo(f"{TEN[0]}/{name}")
        member.type, member.linkname = LINKS[kind], f"{TEN[0]}/data_batch_1"
        archive.addfile(member)
    path.write_bytes(plain.getvalue())
    with pytest.raises(ValueError) as error:
        cifar10(tmp_path)
    found = "a link" if "link" in kind else "another thing"
    expected = f"`{path}/{TEN[0]}/{name}` should be a file or a folder. Found {found}."
    assert expected in str(error.value)


def test_a_tar_that_a_browser_has_unpacked(tmp_path):
    path = tmp_path / TEN[1]
    write_archive(path, TEN[0], ten())
    path.write_bytes(_unzip.unzipped(path, "").getvalue())
    assert len(cifar10(tmp_path)[0].labels) == 10
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(ValueError, match=r"should be a whole .tar.gz archive"):
        cifar10(tmp_path)


@pytest.mark.parametrize("zipped", [True, False])
def test_an_archive_that_unpacks_to_too_much(tmp_path, monkeypatch, zipped):
    path = tmp_path / TEN[1]
    write_archive(path, TEN[0], {"zeros": bytes(3_000_000), **ten()})
    if not zipped:
        path.write_bytes(_unzip.unzipped(path, "").getvalue())
    assert len(cifar10(tmp_path)[0].labels) == 10
    monkeypatch.setattr(_unzip, "LARGEST", 3_000_000)
    with pytest.raises(ValueError) as error:
        cifar10(tmp_path)
    assert f"`{path}` should unpack to at most 3,000,000 bytes." in str(error.value)


def test_what_is_published_fits_with_a_margin():
    published = 60_000 * (3072 + 60)  # pixels, and a name and two labels each
    assert 2 * published < _unzip.LARGEST < 2**30


def test_a_folder_under_the_name_of_the_archive(tmp_path, monkeypatch):
    """And a file under that of the folder: what is right further on is found."""
    (tmp_path / "a" / TEN[1]).mkdir(parents=True)
    (tmp_path / "a" / TEN[0]).write_bytes(b"")
    with pytest.raises(FileNotFoundError):
        cifar10(tmp_path / "a")
    write(tmp_path, TEN, ten(), True)
    monkeypatch.setenv("AUXJAX_DATA", str(tmp_path))
    assert len(cifar10(tmp_path / "a")[0].labels) == 10
    (tmp_path / "a" / TEN[1]).rmdir()
    write_archive(tmp_path / "a" / TEN[1], TEN[0], ten(1))
    assert len(cifar10(tmp_path / "a")[0].labels) == 5


def test_a_pickle_of_something_else(tmp_path):
    said = message(tmp_path, TEN, ten() | {"test_batch": py2_pickle([1, 2])})
    assert "test_batch` should be a pickled dict. Found list." in said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({b"labels": [1]}, "hold 2 labels, one per image. Found shape [1]."),
        ({b"labels": [1, 10]}, "hold labels from 0 to 9. Found 1 to 10."),
        ({b"labels": [-1, 3]}, "hold labels from 0 to 9. Found -1 to 3."),
        ({b"labels": [b"a", b"b"]}, "hold integers as labels. Found dtype |S1."),
        ({b"labels": [[1], 3]}, "hold an array, or numbers and strings, as b'labels'."),
        ({b"labels": None}, "have the key 'labels'. Found ['batch_label', 'data', 'fi"),
        ({b"data": None}, "have the key 'data'. Found"),
        ({b"data": [1, 2]}, "hold images as [n, 3072] uint8. Found list."),
        (
            {b"data": np.zeros((2, 3071), np.uint8)},
            "hold images as [n, 3072] uint8. Found [2, 3071] uint8.",
        ),
    ],
)
def test_malformed_batches(tmp_path, change, said):
    files = ten()
    changed = files["data_batch_2"] | change
    files["data_batch_2"] = {k: v for k, v in changed.items() if v is not None}
    found = message(tmp_path, TEN, files)
    assert f"{TEN[0]}/data_batch_2` should {said}" in found


@pytest.mark.parametrize(
    ("key", "last", "said"),
    [
        (b"fine_labels", 100, "fine_labels from 0 to 99. Found 0 to 100."),
        (b"coarse_labels", 20, "coarse_labels from 0 to 19. Found 1 to 20."),
    ],
)
def test_malformed_labels_of_cifar100(tmp_path, key, last, said):
    files = hundred()
    files["train"][key][1] = last
    assert said in message(tmp_path, HUNDRED, files)


def test_domains_have_five_classes_each():
    rng = np.random.default_rng(0)
    fine = rng.permutation(np.repeat(np.arange(100), 2)).astype(np.int32)
    images = np.arange(200, dtype=np.uint8)[:, None, None, None]
    parts = domains(Images(images, fine, _COARSE[fine]))
    assert len(parts) == len(CIFAR100_COARSE_NAMES) == 20
    for k, part in enumerate(parts):
        assert np.bincount(part.labels).tolist() == [2] * 5
        assert part.coarse.tolist() == [k] * 10
        assert part.labels.dtype == np.int32
        # The same picture as before, under the rank of its class in the domain.
        its_classes = np.unique(fine[part.images[:, 0, 0, 0]])
        np.testing.assert_array_equal(
            fine[part.images[:, 0, 0, 0]], its_classes[part.labels]
        )


def test_domains_of_the_published_classes():
    """Aquatic mammals are beaver, dolphin, otter, seal, whale; and so on."""
    fine = np.arange(100, dtype=np.int32)
    parts = domains(Images(np.arange(100, dtype=np.uint8), fine, _COARSE))
    members = {
        name: part.images.tolist()
        for name, part in zip(CIFAR100_COARSE_NAMES, parts, strict=True)
    }
    assert members["aquatic_mammals"] == [4, 30, 55, 72, 95]
    assert members["people"] == [2, 11, 35, 46, 98]
    assert members["trees"] == [47, 52, 56, 59, 96]
    assert members["vehicles_2"] == [41, 69, 81, 85, 89]


def test_domains_refuse_what_is_not_cifar100():
    fine = np.arange(100, dtype=np.int32)
    images = np.zeros((100, 1, 1, 1), np.uint8)
    for coarse in (None, np.roll(_COARSE, 1)):
        with pytest.raises(ValueError, match="the coarse classes of CIFAR-100"):
            domains(Images(images, fine, coarse))
    few = _COARSE != 7
    with pytest.raises(ValueError, match="Found no insects"):
        domains(Images(images[few], fine[few], _COARSE[few]))
