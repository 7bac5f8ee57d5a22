"""Folders of pictures, a class each."""

import io

import numpy as np
import pytest
from PIL import Image

from auxjax.data import image_folder
from auxjax.data._pixels import open_rgb

RED, GREEN, BLUE, WHITE = (200, 0, 0), (0, 200, 0), (0, 0, 200), (250, 250, 250)


def write(root):
    """Three classes; lossless pictures of one colour, of several sizes and kinds."""
    for name, files in {
        "n01440764": {"b.png": RED, "a.png": GREEN},
        "n02": {"x.PNG": BLUE},
        "n03": {"y.png": WHITE},
    }.items():
        (root / name).mkdir(parents=True)
        for i, (file, colour) in enumerate(files.items()):
            Image.new("RGB", (6 + i, 5), colour).save(root / name / file, "PNG")
    (root / ".hidden").mkdir()
    (root / "n02" / ".DS_Store").write_bytes(b"?")
    (root / "LOC_synset_mapping.txt").write_text("not a class")


def colours(images):
    return [tuple(int(c) for c in image[0, 0]) for image in images.images]


def test_names_and_numbers(tmp_path):
    write(tmp_path)
    images = image_folder(tmp_path, ["n03", 0, "n02"], 4)
    assert images.images.shape == (4, 4, 4, 3)
    assert images.images.dtype == np.uint8
    assert images.labels.dtype == np.int32
    assert images.labels.tolist() == [0, 1, 1, 2]
    assert colours(images) == [WHITE, GREEN, RED, BLUE]  # files sorted by name
    np.testing.assert_array_equal(images.images[0], np.full((4, 4, 3), 250))


def test_the_middle_is_kept(tmp_path):
    (tmp_path / "a").mkdir()
    wide = np.zeros((2, 6, 3), np.uint8)
    wide[:, 2:4] = [[[10, 20, 30], [40, 50, 60]]]
    Image.fromarray(wide).save(tmp_path / "a" / "0.png")
    Image.fromarray(wide.swapaxes(0, 1)).save(tmp_path / "a" / "1.png")
    images = image_folder(tmp_path, ["a"], 2)
    np.testing.assert_array_equal(images.images[0], wide[:, 2:4])
    np.testing.assert_array_equal(images.images[1], wide[:, 2:4].swapaxes(0, 1))


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_other_kinds_of_pictures_become_rgb(tmp_path, mode):
    """ImageNet has grey pictures, and a PNG and some CMYK under the name JPEG."""
    (tmp_path / "a").mkdir()
    kind = "JPEG" if mode == "CMYK" else "PNG"
    Image.new("RGB", (3, 3), WHITE).convert(mode).save(tmp_path / "a/0.JPEG", kind)
    images = image_folder(tmp_path, ["a"], 3)
    assert images.images.shape == (1, 3, 3, 3)
    assert abs(images.images.astype(int) - 250).max() <= 5


@pytest.mark.parametrize(("dtype", "kind"), [("uint16", "PNG"), ("int32", "TIFF")])
def test_grey_pictures_of_16_bits_are_scaled(tmp_path, dtype, kind):
    """0 to 65,535 become 0 to 255; Pillow's own conversion stops at 255."""
    (tmp_path / "a").mkdir()
    grey = np.array([[0, 255, 257], [32_768, 40_000, 65_535]])
    Image.fromarray(grey.astype(dtype)).save(tmp_path / "a/0.png", kind)
    pixels = np.asarray(open_rgb("x", (tmp_path / "a/0.png").read_bytes()))
    expected = np.round(grey / 257)
    np.testing.assert_array_equal(pixels, np.repeat(expected[..., None], 3, axis=2))
    square = Image.fromarray(np.full((3, 3), 40_000, np.uint16))
    square.save(tmp_path / "a/0.png")
    assert (image_folder(tmp_path, ["a"], 3).images == 156).all()


@pytest.mark.parametrize(
    "values", [np.full((2, 2), 0.5, np.float32), np.array([[70_000, 1]], np.int32)]
)
def test_pictures_of_more_than_16_bits_are_refused(tmp_path, values):
    (tmp_path / "a").mkdir()
    Image.fromarray(values).save(tmp_path / "a/0.png", "TIFF")
    with pytest.raises(
        ValueError, match=r"0.png` should have 8 or 16 bits per channel"
    ):
        image_folder(tmp_path, ["a"], 2)


def test_what_systems_leave_is_no_class_and_no_picture(tmp_path, litter):
    write(tmp_path)
    before = image_folder(tmp_path, [0, 1, 2], 4)
    litter(tmp_path)
    after = image_folder(tmp_path, [np.int64(0), np.int64(1), np.int64(2)], np.int64(4))
    np.testing.assert_array_equal(before.images, after.images)
    np.testing.assert_array_equal(before.labels, after.labels)
    with pytest.raises(FileNotFoundError, match="Found 3 other classes, such as n0144"):
        image_folder(tmp_path, ["__MACOSX"], 4)


def test_a_class_of_litter_alone_is_empty(tmp_path, litter):
    (tmp_path / "a").mkdir()
    litter(tmp_path)
    with pytest.raises(ValueError, match=r"a` should hold pictures. Found none."):
        image_folder(tmp_path, [0], 4)


def test_progress(tmp_path):
    write(tmp_path)
    seen = []
    image_folder(tmp_path, [0, 1], 2, progress=lambda *done: seen.append(done))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_missing_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none` is missing. .*image-net.org"):
        image_folder(tmp_path / "none", ["a"], 2)
    write(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"n9` is missing. Found 3 .*n014"):
        image_folder(tmp_path, ["n02", "n9"], 2)


def test_classes_out_of_range(tmp_path):
    write(tmp_path)
    for number in (3, -1):
        with pytest.raises(ValueError, match=f"from 0 to 2, .* Found {number}."):
            image_folder(tmp_path, [0, number], 2)
    for classes in ([], ["n02", 1]):
        with pytest.raises(ValueError, match="name some classes, each once"):
            image_folder(tmp_path, classes, 2)
    with pytest.raises(ValueError, match=r"`size` should be at least 1. Found 0."):
        image_folder(tmp_path, [0], 0)


def test_empty_folders(tmp_path):
    with pytest.raises(ValueError, match="should hold a folder for each class"):
        image_folder(tmp_path, [0], 2)
    write(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty` should hold pictures. Found none."):
        image_folder(tmp_path, ["n02", "empty"], 2)


def test_a_stranger_among_the_pictures(tmp_path):
    write(tmp_path)
    (tmp_path / "n02" / "readme.txt").write_text("hello")
    with pytest.raises(ValueError, match=r"readme.txt` should be a picture"):
        image_folder(tmp_path, ["n02"], 2)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("cut", [0, 10, 0.5, 0.95])
def test_a_truncated_picture(tmp_path, kind, cut):
    write(tmp_path)
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, kind)
    whole = buffer.getvalue()
    path = tmp_path / "n02" / f"z.{kind}"
    path.write_bytes(whole)
    assert len(image_folder(tmp_path, ["n02"], 2).labels) == 2
    path.write_bytes(whole[: int(cut * len(whole)) if cut < 1 else cut])
    with pytest.raises(ValueError, match=rf"z.{kind}` should be a whole picture"):
        image_folder(tmp_path, ["n02"], 2)
