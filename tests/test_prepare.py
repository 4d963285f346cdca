import io
import json

import numpy as np
import pytest
from data_helpers import smooth_image
from PIL import Image

from bot_jax import prepare
from bot_jax.data.pipeline import eval_batches
from bot_jax.data.source import make_source
from configs import default


@pytest.fixture
def photos(tmp_path):
    """7 images to train with and 2 to validate, of 40x60, and one of 400x200."""
    for split, count in (("train", 7), ("validation", 2)):
        for i in range(count):
            file = tmp_path / "photos" / split / ("cat", "dog")[i % 2] / f"{i}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            size = (400, 200) if (split, i) == ("train", 3) else (40, 60)
            Image.fromarray(smooth_image(*size, seed=i)).save(file)
    return tmp_path / "photos"


def run(photos, *flags):
    records = photos.parent / "records"
    code = prepare.main([str(photos), str(records), "--examples-per-file=3", *flags])
    return records, code


def config_of(path, source):
    config = default.get_config().data
    config.source, config.path, config.image_size = source, str(path), 16
    return config


def examples(path, source, split):
    """(label, evaluation view) of every example, sorted."""
    config = config_of(path, source)
    opened = make_source(config, split)
    assert opened.class_names == ("cat", "dog")
    found = []
    for batch in eval_batches(opened, config, batch_size=4, rows=np.arange(4)):
        for label, image, index in zip(batch["label"], batch["image"], batch["index"], strict=True):
            if index >= 0:
                found.append((int(label), image.tobytes()))
    return sorted(found)


def test_records_hold_the_same_examples(photos, capsys):
    records, code = run(photos)
    assert code == 0
    assert "9 examples in 4 files" in capsys.readouterr().out
    for split, count in (("train", 7), ("validation", 2)):
        found = examples(records, "tfds", split)
        assert len(found) == count
        assert found == examples(photos, "folder", split)
    assert not list(records.glob("*.tmp"))


def test_the_order_is_not_that_of_the_classes(photos):
    records, _ = run(photos)
    labels = [
        int(label)
        for _, _, label in make_source(config_of(records, "tfds"), "train").stream(None, 0)
    ]
    assert sorted(labels) == [0, 0, 0, 0, 1, 1, 1]
    assert labels != sorted(labels)


def test_large_images_shrink(photos):
    records, _ = run(photos, "--max-side=100")
    source = make_source(config_of(records, "tfds"), "train")
    sizes = sorted(
        Image.open(io.BytesIO(encoded.numpy())).size for _, encoded, _ in source.stream(None, 0)
    )
    assert sizes == [(50, 100)] + [(60, 40)] * 6


def test_goes_on_where_it_was_interrupted(photos, capsys):
    records, _ = run(photos)
    whole = {file.name: file.read_bytes() for file in records.iterdir()}
    lost = records / "images-train.tfrecord-00001-of-00003"
    lost.unlink()
    kept = records / "images-train.tfrecord-00000-of-00003"
    time_of_kept = kept.stat().st_mtime_ns
    capsys.readouterr()
    assert run(photos)[1] == 0
    assert [line for line in capsys.readouterr().out.splitlines() if "left" in line] == [
        f"2/4 files  left 0:00  {lost.name}"
    ]
    assert kept.stat().st_mtime_ns == time_of_kept
    assert {file.name: file.read_bytes() for file in records.iterdir()} == whole


def test_verify_finds_a_changed_bit_and_a_missing_file(photos, capsys):
    records, _ = run(photos)
    assert run(photos, "--verify")[1] == 0
    changed, missing = sorted(records.glob("*.tfrecord-*"))[:2]
    content = bytearray(changed.read_bytes())
    content[len(content) // 2] ^= 1
    changed.write_bytes(content)
    missing.unlink()
    assert run(photos, "--verify")[1] == 2
    error = capsys.readouterr().err
    assert f"{changed.name} differs from its checksum" in error
    assert f"{missing.name} is missing" in error


def test_other_options_or_images_are_refused(photos, capsys):
    run(photos)
    assert run(photos, "--max-side=100")[1] == 2
    assert "records of other options" in capsys.readouterr().err
    next((photos / "train" / "cat").iterdir()).unlink()
    assert run(photos)[1] == 2
    assert "records of other images" in capsys.readouterr().err


def test_a_bad_image_is_named_or_skipped(photos, capsys):
    bad = photos / "train" / "dog" / "9.jpg"
    bad.write_bytes(b"no image")
    records, code = run(photos)
    assert code == 2
    assert f"{bad} cannot be read: its content is of no known image format" in (
        capsys.readouterr().err
    )
    assert not list(records.glob("*.tmp"))
    assert not (records / "dataset_info.json").exists()
    for file in records.iterdir():
        file.unlink()
    assert run(photos, "--on-bad-image=skip")[1] == 0
    assert "9 examples in 4 files" in capsys.readouterr().out
    manifest = json.loads((records / "manifest.json").read_text())
    skipped = [text for entry in manifest["files"].values() for text in entry.get("skipped", ())]
    assert len(skipped) == 1
    assert str(bad) in skipped[0]
    assert len(examples(records, "tfds", "train")) == 7


def test_lists_of_files(photos):
    for split in ("train", "validation"):
        files = sorted((photos / split).rglob("*.jpg"))
        lines = [f"{file.relative_to(photos)} {file.parent.name}\n" for file in files]
        (photos / f"{split}.txt").write_text("".join(lines))
    records, code = run(photos, "--source=list")
    assert code == 0
    assert examples(records, "tfds", "train") == examples(photos, "folder", "train")


@pytest.mark.parametrize("flags", [["nowhere", "records"], [".", "records", "--verify"]])
def test_wrong_folders_are_refused(tmp_path, monkeypatch, capsys, flags):
    monkeypatch.chdir(tmp_path)
    assert prepare.main(flags) == 2
    assert capsys.readouterr().err.startswith("Error: ")
