"""CelebA, from its text files and pictures."""

import io
import os
import zipfile

import numpy as np
import pytest
from PIL import Image

from auxjax.data import celeba

NAMES = ["5_o_Clock_Shadow", "Male", *(f"A{i}" for i in range(37)), "Young"]
PARTS = [0, 0, 2, 1, 0, 2]  # not in the order of the parts


def picture(i, kind="JPEG"):
    buffer = io.BytesIO()
    grey = Image.new("RGB", (178, 218), (10 + 30 * i,) * 3)
    grey.save(buffer, kind, **({"quality": 95} if kind == "JPEG" else {}))
    return buffer.getvalue()


def values():
    return np.random.default_rng(0).integers(0, 2, (len(PARTS), 40))


def write(folder, *, zipped=False):
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        f"{i + 1:06d}.jpg " + " ".join(f"{2 * v - 1:2d}" for v in row)
        for i, row in enumerate(values())
    ]
    table = [str(len(PARTS)), " ".join(NAMES) + " ", *rows]
    (folder / "list_attr_celeba.txt").write_text("\n".join(table) + "\n")
    parts = [f"{i + 1:06d}.jpg {part}" for i, part in enumerate(PARTS)]
    (folder / "list_eval_partition.txt").write_text("\n".join(parts) + "\n")
    files = {f"{i + 1:06d}.jpg": picture(i) for i in range(len(PARTS))}
    if zipped:
        with zipfile.ZipFile(folder / "img_align_celeba.zip", "w") as archive:
            archive.writestr("img_align_celeba/", "")
            for name, content in files.items():
                archive.writestr(f"img_align_celeba/{name}", content)
    else:
        (folder / "img_align_celeba").mkdir(exist_ok=True)
        for name, content in files.items():
            (folder / "img_align_celeba" / name).write_bytes(content)


def check(parts):
    for number, part in enumerate(parts):
        members = [i for i, p in enumerate(PARTS) if p == number]
        assert part.images.shape == (len(members), 8, 8, 3)
        assert part.images.dtype == np.uint8
        grey = [10 + 30 * i for i in members]
        expected = np.broadcast_to(
            np.array(grey)[:, None, None, None], part.images.shape
        )
        np.testing.assert_allclose(part.images.astype(int), expected, atol=1)
        np.testing.assert_array_equal(part.attributes, values()[members])
        assert part.attributes.dtype == np.int32
        assert part.names == tuple(NAMES)


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("folder", ["", "celeba"])
def test_celeba(tmp_path, zipped, folder, nowhere):
    write(tmp_path / folder, zipped=zipped)
    check(celeba(tmp_path, 8))
    cached = list((nowhere / ".cache/auxjax").iterdir())
    assert [path.suffix for path in cached] == [".npy"]


def test_the_folders_of_the_published_archive(tmp_path):
    for zipped in (False, True):
        root = tmp_path / str(zipped) / "CelebA"
        write(root, zipped=zipped)
        for name, place in {
            "list_attr_celeba.txt": "Anno",
            "list_eval_partition.txt": "Eval",
            f"img_align_celeba{'.zip' * zipped}": "Img",
        }.items():
            (root / place).mkdir()
            (root / name).rename(root / place / name)
        check(celeba(root.parent, 8))
        check(celeba(root, 8))


def test_folders_under_the_names_of_files_are_passed_over(tmp_path):
    """The tables, the archive; and a file under the name of the pictures' folder."""
    write(tmp_path, zipped=True)
    for name, place in {
        "list_attr_celeba.txt": "Anno",
        "list_eval_partition.txt": "Eval",
        "img_align_celeba.zip": "Img",
    }.items():
        (tmp_path / place).mkdir()
        (tmp_path / name).rename(tmp_path / place / name)
        (tmp_path / name).mkdir()
    (tmp_path / "img_align_celeba").write_bytes(b"")
    check(celeba(tmp_path, 8))
    (tmp_path / "Anno/list_attr_celeba.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"missing. Found a folder of"):
        celeba(tmp_path, 8)


def test_what_systems_leave_is_not_in_the_way(tmp_path, litter):
    write(tmp_path)
    litter(tmp_path)
    check(celeba(tmp_path, 8))


def test_the_whole_picture_is_squeezed(tmp_path):
    write(tmp_path)
    halves = np.zeros((218, 178, 3), np.uint8)
    halves[:109] = 255
    path = tmp_path / "img_align_celeba" / "000001.jpg"
    Image.fromarray(halves).save(path, "PNG")
    train, _, _ = celeba(tmp_path, 4)
    assert (train.images[0, 0] > 250).all()
    assert (train.images[0, 3] < 5).all()


def test_pictures_are_decoded_once_and_mapped(tmp_path):
    write(tmp_path / "data")
    seen = []

    def read(size=8):
        return celeba(
            tmp_path / "data",
            size,
            cache_dir=tmp_path / "cache",
            progress=lambda *done: seen.append(done),
        )

    first = read()
    assert seen == [(6, 6)]
    again = read()
    assert seen == [(6, 6)]
    check(again)
    assert isinstance(again[0].images.base, np.memmap)
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a.images, b.images)
    read(size=4)
    assert seen == [(6, 6)] * 2
    # Another partition is another file.
    table = tmp_path / "data" / "list_eval_partition.txt"
    table.write_text(table.read_text().replace("000001.jpg 0", "000001.jpg 1") + "\n")
    _, validation, _ = read()
    assert len(validation.images) == 2
    assert int(validation.images[0, 0, 0, 0]) == 10


def test_the_cache_goes_by_the_files_and_not_by_their_folder(tmp_path):
    write(tmp_path)
    seen = []

    def read(size=8):
        folder = os.path.relpath(tmp_path) if len(seen) else tmp_path
        options = {
            "cache_dir": tmp_path / "cache",
            "progress": lambda *x: seen.append(x),
        }
        return celeba(folder, size, **options)

    read()
    pictures = tmp_path / "img_align_celeba"
    (pictures / "readme.txt").write_text("the folder's date moves, no picture's does")
    check(read(size=np.int64(8)))
    assert seen == [(6, 6)]
    # Written over in its place: the folder's date stays.
    before = pictures.stat().st_mtime_ns
    (pictures / "000003.jpg").write_bytes(picture(7))
    os.utime(pictures, ns=(before, before))
    _, _, test = read()
    assert seen == [(6, 6)] * 2
    assert abs(int(test.images[0, 0, 0, 0]) - (10 + 30 * 7)) <= 1
    # Of the same size at another time.
    os.utime(pictures / "000003.jpg", ns=(before, before + 10))
    read()
    assert seen == [(6, 6)] * 3


def test_the_cache_is_for_whom_the_umask_lets(tmp_path):
    write(tmp_path)
    before = os.umask(0o027)
    try:
        celeba(tmp_path, 8, cache_dir=tmp_path / "cache")
    finally:
        os.umask(before)
    (path,) = (tmp_path / "cache").iterdir()
    assert path.stat().st_mode & 0o777 == 0o640


def test_without_a_home_the_pictures_stay_in_memory(tmp_path, monkeypatch):
    write(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("auxjax.data._celeba.cache_folder", lambda _: None)
    parts = celeba(tmp_path / "data", np.int64(8))
    check(parts)
    assert not isinstance(parts[0].images.base, np.memmap)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", "truncated"])
def test_a_broken_cache_is_made_again(tmp_path, content):
    write(tmp_path)
    cache = tmp_path / "cache"
    celeba(tmp_path, 8, cache_dir=cache)
    (path,) = cache.iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] if content == "truncated" else content)
    check(celeba(tmp_path, 8, cache_dir=cache))
    assert path.read_bytes() == whole


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path):
    write(tmp_path)
    (tmp_path / "file").write_bytes(b"")
    parts = celeba(tmp_path, 8, cache_dir=tmp_path / "file" / "cache")
    check(parts)
    assert not isinstance(parts[0].images.base, np.memmap)


def said(tmp_path, kind=ValueError, **arguments):
    with pytest.raises(kind) as error:
        celeba(tmp_path, 8, cache_dir=tmp_path / "cache", **arguments)
    cache = tmp_path / "cache"
    assert not cache.exists() or not list(cache.iterdir())  # nothing partial stays
    return str(error.value)


def test_nothing_at_all(tmp_path):
    message = said(tmp_path, FileNotFoundError)
    assert "list_eval_partition.txt" in message
    assert "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html" in message


@pytest.mark.parametrize("name", ["list_attr_celeba.txt", "list_eval_partition.txt"])
def test_a_missing_table(tmp_path, name):
    write(tmp_path)
    (tmp_path / name).unlink()
    assert f"{name}` is missing. Expected" in said(tmp_path, FileNotFoundError)


def test_missing_pictures(tmp_path):
    write(tmp_path, zipped=True)
    (tmp_path / "img_align_celeba.zip").unlink()
    message = said(tmp_path, FileNotFoundError)
    assert "img_align_celeba.zip` is missing" in message
    write(tmp_path)
    (tmp_path / "img_align_celeba" / "000003.jpg").unlink()
    message = said(tmp_path, FileNotFoundError)
    assert "img_align_celeba/000003.jpg` is missing" in message


def test_a_picture_missing_in_the_archive(tmp_path):
    write(tmp_path, zipped=True)
    path = tmp_path / "img_align_celeba.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("img_align_celeba/000001.jpg", picture(0))
    message = said(tmp_path, FileNotFoundError)
    assert f"`img_align_celeba/000002.jpg` is missing in `{path}`" in message


@pytest.mark.parametrize("content", [b"", picture(2)[:-400], b"<html>", picture(2)[:9]])
def test_a_corrupt_picture(tmp_path, content):
    write(tmp_path)
    (tmp_path / "img_align_celeba" / "000003.jpg").write_bytes(content)
    assert "000003.jpg` should be a whole picture" in said(tmp_path)


def test_a_corrupt_archive(tmp_path):
    write(tmp_path, zipped=True)
    path = tmp_path / "img_align_celeba.zip"
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])
    assert "img_align_celeba.zip` should be a whole zip file" in said(tmp_path)
    at = whole.index(picture(2)) + 700
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
    assert "img_align_celeba.zip/000003.jpg` should be whole" in said(tmp_path)


def test_a_picture_that_unpacks_to_too_much(tmp_path, monkeypatch):
    write(tmp_path, zipped=True)
    monkeypatch.setattr("auxjax.data._celeba._LARGEST", len(picture(0)) - 1)
    assert "000001.jpg` should unpack to at most" in said(tmp_path)


def test_an_archive_with_a_password(tmp_path):
    write(tmp_path, zipped=True)
    path = tmp_path / "img_align_celeba.zip"
    # The flag for it, in the directory's entry of each file.
    path.write_bytes(path.read_bytes().replace(b"PK\1\2\x14\3\x14\0\0", LOCKED))
    assert "000001.jpg` should be whole. Found File" in said(tmp_path)
    assert "is encrypted" in said(tmp_path)


LOCKED = b"PK\1\2\x14\3\x14\0\1"
TABLE, PARTITION = "list_attr_celeba.txt", "list_eval_partition.txt"


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        (TABLE, "6\n", "7\n", "list 7 pictures. Found 6."),
        (TABLE, "6\n", "", "begin with the number of pictures. Found '5_o"),
        (TABLE, "Young", "", "name 40 attributes in line 2. Found 39."),
        (TABLE, "000002.jpg", "000002.jpg 1", "give 000002.jpg 40 times 1 or -1."),
        (TABLE, "000002.jpg", "000001.jpg", "picture once. Found 000001.jpg twice."),
        (TABLE, "000002.jpg", "9.jpg", "2 in only one of them, such as 000002.jpg."),
        (PARTITION, "03.jpg 2", "03.jpg 2\n000001.jpg 1", "Found 000001.jpg twice."),
        (PARTITION, "03.jpg 2", "03.jpg 2\n000003.jpg 2", "Found 000003.jpg twice."),
        (PARTITION, "03.jpg 2", "03.jpg 3", "give 000003.jpg a 0, 1 or 2. Found '0"),
        (PARTITION, "03.jpg 2", "03.jpg", "give 000003.jpg a 0, 1 or 2. Found '0"),
        (PARTITION, "000006.jpg 2\n", "", "1 in only one of them, such as 000006.jpg."),
        (PARTITION, "04.jpg 1", "04.jpg 0", "parts 0, 1 and 2. Found no 1."),
    ],
)
def test_malformed_tables(tmp_path, name, old, new, message):
    write(tmp_path)
    text = (tmp_path / name).read_text()
    assert old in text
    (tmp_path / name).write_text(text.replace(old, new, 1))
    found = said(tmp_path)
    assert message in found
    assert "list_" in found


@pytest.mark.parametrize("content", [b"", b"3\n", b"\xff\xfe\x00", b"x\ny\nz\n"])
def test_tables_that_are_none(tmp_path, content):
    write(tmp_path)
    (tmp_path / TABLE).write_bytes(content)
    assert f"{TABLE}` should be" in said(tmp_path)


def test_a_size_out_of_range(tmp_path):
    with pytest.raises(ValueError, match=r"`size` should be at least 1. Found 0."):
        celeba(tmp_path, 0)
