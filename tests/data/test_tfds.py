"""TensorFlow Datasets: files as it prepares them, read without TensorFlow."""

import io
import json
import sys

import numpy as np
import pytest
from array_record.python import array_record_module
from PIL import Image
from tensorflow_datasets.proto import tf_example_pb2

from auxjax.data import tfds

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 4, 6, 3), dtype=np.uint8)
LABELS = [0, 2, 1, 2, 0]
FEATURE = "tensorflow_datasets.core.features"


def features(channels=3):
    shape = {"dimensions": ["4", "6", str(channels)] if channels else ["-1", "-1", "3"]}
    return {
        "pythonClassName": f"{FEATURE}.features_dict.FeaturesDict",
        "featuresDict": {
            "features": {
                "image": {
                    "pythonClassName": f"{FEATURE}.image_feature.Image",
                    "image": {"dtype": "uint8", "shape": shape},
                },
                "label": {
                    "pythonClassName": f"{FEATURE}.class_label_feature.ClassLabel",
                    "classLabel": {"numClasses": "3"},
                },
            }
        },
    }


def write(root, pixels=PIXELS, labels=LABELS, *, count=5, kind="array_record", **more):
    """The folder of a version: two descriptions and one shard."""
    folder = root / "tiny" / "1.0.0"
    folder.mkdir(parents=True, exist_ok=True)
    shard = folder / "tiny-train.array_record-00000-of-00001"
    writer = array_record_module.ArrayRecordWriter(str(shard), "group_size:1")
    for image, label in zip(pixels, labels, strict=True):
        buffer = io.BytesIO()
        Image.fromarray(image.squeeze()).save(buffer, "PNG")
        example = tf_example_pb2.Example()
        feature = example.features.feature
        feature["image"].bytes_list.value.append(buffer.getvalue())
        feature["label"].int64_list.value.append(label)
        writer.write(example.SerializeToString())
    writer.close()
    (folder / "features.json").write_text(json.dumps(features(**more)))
    split = {
        "name": "train",
        "shardLengths": [str(count)],
        "numBytes": "100",
        "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
    }
    info = {"name": "tiny", "version": "1.0.0", "fileFormat": kind, "splits": [split]}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    return shard


def test_what_systems_leave_is_no_data_set(tmp_path, litter):
    (tmp_path / "a" / "tiny").mkdir(parents=True)
    litter(tmp_path / "a", "dataset_info.json")
    with pytest.raises(FileNotFoundError, match="The data was not found"):
        tfds("tiny", "train", tmp_path / "a")


@pytest.mark.parametrize("name", ["tiny", "tiny:1.0.0"])
def test_what_is_written_is_read(tmp_path, name):
    write(tmp_path)
    images = tfds(name, "train", tmp_path)
    np.testing.assert_array_equal(images.images, PIXELS)
    assert images.images.dtype == np.uint8
    assert images.labels.tolist() == LABELS
    assert images.labels.dtype == np.int32
    assert "tensorflow" not in sys.modules


def test_a_part_of_a_split_and_the_environment(tmp_path, monkeypatch):
    write(tmp_path)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    images = tfds("tiny", "train[1:3]")
    np.testing.assert_array_equal(images.images, PIXELS[1:3])
    assert images.labels.tolist() == LABELS[1:3]


def test_grey_pictures_keep_their_channel(tmp_path):
    write(tmp_path, PIXELS[..., :1], channels=1)
    np.testing.assert_array_equal(
        tfds("tiny", "train", tmp_path).images, PIXELS[..., :1]
    )


def said(tmp_path, kind=ValueError, name="tiny", split="train", **more):
    with pytest.raises(kind) as error:
        tfds(name, split, tmp_path, **more)
    return str(error.value)


def test_nothing_at_all(tmp_path):
    message = said(tmp_path, FileNotFoundError, "mnist/config:3.0.1")
    assert f"  {tmp_path / 'mnist'}\n" in message
    assert "array_record or parquet" in message
    (tmp_path / "mnist" / "3.0.1").mkdir(parents=True)
    assert message == said(tmp_path, FileNotFoundError, "mnist/config:3.0.1")


def test_another_format(tmp_path):
    """The library says `NotImplementedError`, and nothing of the folder."""
    write(tmp_path, kind="tfrecord")
    message = said(tmp_path)
    assert f"`{tmp_path}/tiny` should hold array_record or parquet files" in message
    assert "Found versions ['1.0.0']." in message


def test_another_split_version_or_feature(tmp_path):
    write(tmp_path)
    assert "have a split 'test' of 'tiny'. Found" in said(tmp_path, split="test")
    assert "of 'tiny:2.0.0'. Found" in said(tmp_path, name="tiny:2.0.0")
    found = "features 'picture' and 'label'. Found ['image', 'label']."
    assert found in said(tmp_path, image="picture")
    assert "features 'image' and 'class'. Found" in said(tmp_path, label="class")
    assert "uint8 as 'label'. Found [] int" in said(tmp_path, image="label")
    assert "whole numbers as 'image'. Found [4, 6, 3]" in said(tmp_path, label="image")


def test_broken_descriptions(tmp_path):
    folder = write(tmp_path).parent
    for name in ("dataset_info.json", "features.json"):
        whole = (folder / name).read_text()
        (folder / name).write_text(whole[:-10])
        assert f"`{tmp_path}/tiny` should have a split" in said(tmp_path)
        (folder / name).write_text(whole)
    assert len(tfds("tiny", "train", tmp_path).labels) == 5


def test_a_missing_shard(tmp_path):
    shard = write(tmp_path)
    shard.unlink()
    assert f"`{tmp_path}/tiny` should hold example 0" in said(tmp_path)


def test_broken_shards(tmp_path):
    shard = write(tmp_path)
    whole = shard.read_bytes()
    half = len(whole) // 2
    for content in (b"", whole[:half], whole[:half] + b"\0" * 8 + whole[half + 8 :]):
        shard.write_bytes(content)
        assert f"`{tmp_path}/tiny` should hold example 0" in said(tmp_path)


def test_fewer_examples_than_promised(tmp_path):
    write(tmp_path, count=7)
    assert "should hold example 5" in said(tmp_path)


def test_a_label_out_of_range(tmp_path):
    write(tmp_path, labels=[0, 1, 2, 3, 0])
    assert "labels from 0 to 2. Found 0 to 3." in said(tmp_path)


def test_pictures_of_several_sizes(tmp_path):
    pixels = [*PIXELS[:4], PIXELS[4].swapaxes(0, 1)]
    write(tmp_path, pixels, channels=None)
    message = said(tmp_path)
    assert "of one size, [4, 6, 3]. Found [6, 4, 3]." in message


@pytest.mark.parametrize(
    "module", ["tensorflow_datasets", "array_record", "array_record.python"]
)
def test_what_is_absent_is_asked_for(tmp_path, monkeypatch, module):
    write(tmp_path)
    if module == "tensorflow_datasets":
        monkeypatch.setitem(sys.modules, module, None)
    else:

        def data_source(*args, **kwargs):
            raise ModuleNotFoundError(f"No module named {module!r}", name=module)

        monkeypatch.setattr("tensorflow_datasets.data_source", data_source)
    message = said(tmp_path, ModuleNotFoundError)
    assert "`tfds('tiny')` needs" in message
    assert 'pip install "auxjax[data]"' in message
