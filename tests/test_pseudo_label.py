"""Pseudo labels: choosing among images, and a run of which others learn, from end to end."""

import csv
import json
import shutil

import numpy as np
import pytest
from color_run import picture, write
from data_helpers import data_config
from ml_collections import ConfigDict
from PIL import Image

from bot_jax import pseudo_label
from bot_jax.data.source import make_source
from bot_jax.errors import InputError
from bot_jax.evaluate import evaluate_checkpoint
from bot_jax.results import print_result

# In 64 bits far from each other.
HASHES = [int(h) for h in np.random.default_rng(0).integers(0, 2**63, 8)]


def test_the_most_confident_of_each_class():
    labels = [0, 0, 0, 1, 1, 0]
    confidence = [0.91, 0.99, 0.95, 0.93, 0.92, 0.95]
    chosen, left_out = pseudo_label.choose(
        labels, confidence, HASHES[:6], [], per_class=2, distance=4
    )
    assert chosen == [1, 2, 3, 4]  # of two that are equally sure the first
    assert left_out == {"duplicates_of_validation": 0, "duplicates_of_kept": 0, "over_quota": 2}


def test_near_duplicates_make_room_for_others():
    validation = [HASHES[0] ^ 0b1111, None]
    hashes = [HASHES[0], HASHES[1], HASHES[1] ^ 0b101, HASHES[2] ^ 0b11111, HASHES[2], None]
    confidence = [0.99, 0.98, 0.97, 0.96, 0.95, 0.94]
    choose = pseudo_label.choose
    options = {"per_class": 9, "distance": 4}
    chosen, left_out = choose([0, 0, 1, 0, 0, 0], confidence, hashes, validation, **options)
    # The second of the second pair differs in 5 bits; what has no hash is near nothing.
    assert chosen == [1, 3, 4, 5]
    assert left_out == {"duplicates_of_validation": 1, "duplicates_of_kept": 1, "over_quota": 0}
    chosen, _ = choose([0] * 6, confidence, hashes, validation, per_class=2, distance=4)
    assert chosen == [1, 3]


@pytest.fixture(scope="module")
def run(color_run):
    return color_run


def test_the_threshold_of_a_trained_run(run):
    root, result = run
    rejection = json.loads((root / "workdir/rejection.json").read_text())
    assert rejection == result["rejection"]
    assert rejection["calibrated_on"] == "validation"
    assert (rejection["known_examples"], rejection["background_examples"]) == (12, 4)
    assert 0 <= rejection["threshold"] <= 1
    with (root / "workdir/classes_validation.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["class"] for row in rows] == ["blue", "green", "red", "background"]
    assert [row["examples"] for row in rows] == ["4"] * 4


def test_another_split_is_judged_by_the_same_threshold(run, capsys):
    root, result = run
    before = (root / "workdir/rejection.json").read_bytes()
    config = ConfigDict(json.loads((root / "workdir/config.json").read_text()))
    config.data.eval_split = "train"
    other, _ = evaluate_checkpoint(config, root / "workdir")
    assert other["rejection"]["threshold"] == result["rejection"]["threshold"]
    assert other["rejection"]["background_examples"] == 8
    assert (root / "workdir/rejection.json").read_bytes() == before
    print_result(other, root)
    assert "% of the background rejected" in capsys.readouterr().out


@pytest.fixture
def images(run, tmp_path):
    """To label: new ones of two classes, copies, noise, and a file that is no image."""
    root, folder = run[0], tmp_path / "more"
    for i in range(5):
        write(folder / f"r/{i}.png", picture("red", 1000 + i))
    write(folder / "g 0.png", picture("green", 2000))
    # Copies of a validation image and of a new one; a link to a training image.
    copy = Image.fromarray(picture("red", 250)).resize((44, 44), Image.Resampling.LANCZOS)
    write(folder / "validation copy.jpg", copy, "JPEG", quality=85)
    copy = Image.fromarray(picture("green", 2000)).resize((40, 40), Image.Resampling.LANCZOS)
    write(folder / "g 1.jpg", copy, "JPEG", quality=85)
    (folder / "linked.png").symlink_to(root / "data/train/blue/0.png")
    noise = np.random.default_rng(99).integers(0, 256, (48, 48, 3), np.uint8)
    write(folder / "noise.png", noise)
    (folder / "text.jpg").write_text("text")
    return folder


def label(run, images, output, *flags):
    return pseudo_label.main([str(run[0] / "workdir"), str(images), str(output), *flags])


def test_lists_of_a_run(run, images, tmp_path, capsys):
    output = tmp_path / "labelled/1"
    assert label(run, images, output, "--threshold", "0.6", "--per-class", "6") == 0
    report = json.loads((output / "report.json").read_text())
    assert report["labelled"] == 36
    assert report["already_labelled"] == 1
    assert report["unreadable"] == 1
    assert report["predicted"] == 9
    assert report["duplicates_of_validation"] == 1
    assert report["duplicates_of_kept"] == 1
    assert (report["below_threshold"], report["background"]) == (0, 1)  # noise
    assert report["over_quota"] == 0
    assert report["kept_by_class"] == {"blue": 0, "green": 1, "red": 5}
    printed = capsys.readouterr().out
    assert "predicted 10 of 10 images, 0:00 left" in printed
    assert f"--config.data.path={output}" in printed

    lists = data_config(source="list", path=str(output))
    with pytest.raises(InputError, match=r"train.txt, line 1: .* it has '\.\.' in it"):
        make_source(lists, "train")
    assert "--config.data.options.allow_outside=true" in printed
    lists.options.allow_outside = True
    train_source = make_source(lists, "train")
    assert train_source.class_names == ("blue", "green", "red")
    assert np.bincount(train_source.labels).tolist() == [12, 13, 17]
    assert not (output / "train.txt").read_text().startswith("/")
    for i in range(train_source.num_examples):
        encoded, which = train_source.read(np.int64(i))
        path = train_source.describe(i)
        assert len(encoded.numpy()) > 100  # it is there
        expected = {"g": "green", "r": "red"}.get(path.split("/more/")[-1][0])
        expected = expected if "/more/" in path else path.split("/")[-2]
        assert train_source.class_names[int(which)] == expected
    validation = make_source(lists, "validation")
    assert validation.num_examples == 12
    with (output / "pseudo_labelled.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 6
    assert all(float(row["confidence"]) >= 0.6 for row in rows)

    again = tmp_path / "labelled/2"  # as deep, so that relative paths are the same
    assert label(run, images, again, "--threshold", "0.6", "--per-class", "6") == 0
    for file in output.iterdir():
        assert file.read_bytes() == (again / file.name).read_bytes()


def test_threshold_and_default_quota(run, images, tmp_path):
    report = pseudo_label.pseudo_label(run[0] / "workdir", images, tmp_path / "a", threshold=1.0)
    assert (report["kept"], report["below_threshold"], report["per_class"]) == (0, 8, 12)
    report = pseudo_label.pseudo_label(
        run[0] / "workdir", images, tmp_path / "c", threshold=0.6, per_class=2, against=images / "r"
    )
    assert report["kept_by_class"]["red"] == 0
    assert report["duplicates_of_validation"] == 6


def test_what_is_most_like_the_background_gets_no_label(run, tmp_path):
    report = pseudo_label.pseudo_label(
        run[0] / "workdir", run[0] / "other", tmp_path / "o", threshold=0.0, per_class=1000
    )
    assert report["background"] > 0.8 * report["predicted"] > 0
    assert report["kept"] <= report["predicted"] - report["background"]
    assert report["below_threshold"] == 0


def test_the_next_round_labels_anew(run, images, tmp_path):
    label(run, images, tmp_path / "1", "--threshold", "0.6")
    workdir = tmp_path / "workdir"
    shutil.copytree(run[0] / "workdir", workdir)
    config = json.loads((workdir / "config.json").read_text())
    config["data"] |= {"source": "list", "path": str(tmp_path / "1")}
    config["data"]["options"] = {"allow_outside": True}
    (workdir / "config.json").write_text(json.dumps(config))
    report = pseudo_label.pseudo_label(workdir, images, tmp_path / "2", threshold=0.6)
    assert (report["labelled"], report["already_labelled"]) == (36, 1)
    for name in ("train.txt", "validation.txt", "pseudo_labelled.csv"):
        assert (tmp_path / "1" / name).read_text() == (tmp_path / "2" / name).read_text()


def test_wrong_input(run, images, tmp_path, capsys):
    def fails(arguments, message):
        assert pseudo_label.main(list(map(str, arguments))) == 2
        assert message in capsys.readouterr().err
        assert not (tmp_path / "output").exists()

    workdir, output = run[0] / "workdir", tmp_path / "output"
    fails([workdir, images, tmp_path], "is there already. Name a new folder.")
    fails([workdir, tmp_path / "nowhere", output], "IMAGES = ")
    fails([tmp_path, images, output], "is not the --workdir of a run")
    fails([workdir, run[0] / "data/train", output], "only images that are labelled already")
    fails([workdir, images, output, "--against", tmp_path / "nowhere"], "--against = ")
    for flags in (["--threshold", "2"], ["--per-class", "0"], ["--hash-distance", "65"]):
        with pytest.raises(SystemExit, match="2"):
            pseudo_label.main([str(workdir), str(images), str(output), *flags])
    config = json.loads((workdir / "config.json").read_text())
    other = tmp_path / "other"
    shutil.copytree(workdir, other)
    config["data"]["source"] = "digits"
    (other / "config.json").write_text(json.dumps(config))
    fails([other, images, output], "has config.data.source = 'digits'")


def test_names_that_a_list_cannot_hold(run, tmp_path):
    write(tmp_path / "more/a\nb.png", picture("red", 1000))
    with pytest.raises(InputError, match="has a line break in its name"):
        pseudo_label.pseudo_label(
            run[0] / "workdir", tmp_path / "more", tmp_path / "output", threshold=0.0
        )
    assert not (tmp_path / "output").exists()
