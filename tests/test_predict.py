"""Predictions for files: as many right as an evaluation counts, from whatever the model is read."""

import dataclasses
import json
import logging
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import jax
import numpy as np
import pytest
from color_run import COLORS, picture, write
from data_helpers import smooth_image
from ml_collections import ConfigDict
from rich.cells import cell_len

from bot_jax import convert, export, predict
from bot_jax.classifier import load_classifier
from bot_jax.evaluate import evaluate_checkpoint


@pytest.fixture(scope="module")
def models(color_run, tmp_path_factory):
    """The run of colours in every form that it can be read in: kind -> path."""
    folder = tmp_path_factory.mktemp("models")
    paths = {"run": color_run[0] / "workdir"}
    for kind, name in (("artifact", "colors.zip"), ("weights", "colors.safetensors")):
        paths[kind] = folder / name
        assert export.main([str(paths["run"]), str(paths[kind])]) == 0
    return paths


@pytest.fixture
def images(tmp_path):
    """Thirteen images, some of them hard, in the layout of the run's data."""
    root = tmp_path / "data"
    for color in COLORS:
        write(root / "train" / color / "0.png", picture(color, 0))
        for i in range(4):
            pattern = smooth_image(48 + i, 40, seed=ord(color[0]) + i)
            image = pattern + (0.7, 0.3, 0.1, 0)[i] * (
                np.array(COLORS[color]) - pattern.astype(int)
            )
            write(root / "validation" / color / f"{i}.png", image.astype(np.uint8))
    write(root / "validation" / "red" / "wide.jpg", picture("red", 7, 60)[:20], "JPEG")
    return root


def predicted(capsys, *arguments):
    """(exit code, objects of the lines, what was said beside them)."""
    capsys.readouterr()
    code = predict.main([*map(str, arguments), "--json"])
    said = capsys.readouterr()
    return code, [json.loads(line) for line in said.out.splitlines()], said.err


@pytest.mark.parametrize("kind", ["run", "artifact", "weights"])
def test_as_many_are_right_as_in_the_evaluation(color_run, models, images, kind, tmp_path, capsys):
    workdir = tmp_path / "workdir"
    shutil.copytree(color_run[0] / "workdir", workdir)
    config = ConfigDict(json.loads((workdir / "config.json").read_text()))
    config.data.path, config.data.background = str(images), ""
    # Without the background there are fewer classes than logits; here they are read from a list.
    names = json.loads((workdir / "classes.json").read_text())
    lines = [
        f"{path.relative_to(images)} {path.parent.name}"
        for path in sorted((images / "validation").rglob("*.*"))
    ]
    (images / "validation.txt").write_text("\n".join(lines))
    (images / "classes.txt").write_text("\n".join(names))
    config.data.source = "list"
    result, _ = evaluate_checkpoint(config, workdir)
    assert 20 < result["top1"] < 95  # not a matter of course

    path = models[kind]
    if kind == "weights":  # which do not say how images are prepared
        path = tmp_path / "w.zip"
        assert export.main([str(models[kind]), str(path), "--eval-resize", "8"]) == 0
    code, found, _ = predicted(capsys, images / "validation", "--model", path, "--top", "2")
    assert code == 0
    assert len(found) == result["num_examples"] == 13
    true = [Path(one["image"]).parent.name for one in found]
    hits = [name == one["top"][0]["class"] for name, one in zip(true, found, strict=True)]
    assert 100 * sum(hits) / len(hits) == pytest.approx(result["top1"], abs=1e-4)


def test_probabilities_are_those_of_the_model(models, images, capsys):
    model = load_classifier(models["run"])
    _, found, _ = predicted(capsys, images / "train", "--model", models["run"], "--top", 9)
    for one, color in zip(found, sorted(COLORS), strict=True):
        from PIL import Image

        small = np.asarray(Image.open(images / "train" / color / "0.png"))
        # 48 pixels to 8: without antialiasing the mean of the four pixels in the middle of 6 x 6.
        small = small.reshape(8, 6, 8, 6, 3)[:, 2:4, :, 2:4].mean((1, 3))
        logits = model.apply(model.weights, np.rint(small)[None].astype(np.uint8))["logits"][0]
        own = np.exp(logits - logits.max())
        own = dict(zip(model.class_names, own / own.sum(), strict=True))
        assert {x["class"] for x in one["top"]} == own.keys()
        for x in one["top"]:
            assert x["probability"] == pytest.approx(own[x["class"]], abs=2e-6)
        values = [x["probability"] for x in one["top"]]
        assert values == sorted(values, reverse=True)


def test_what_no_known_class_is_probable_for_is_rejected(models, color_run, images, capsys):
    code, found, _ = predicted(capsys, color_run[0] / "other", "--model", models["run"])
    rejected = [one for one in found if one["rejected"]]
    assert code == 0
    assert len(rejected) > 0.8 * len(found) > 0
    threshold = json.loads((models["run"] / "rejection.json").read_text())["threshold"]
    assert all(one["class"] is None and one["probability"] < threshold for one in rejected)
    assert rejected[0]["top"][0]["class"] == "background"
    assert predicted(capsys, color_run[0] / "other", "--model", models["artifact"])[1] == found
    _, known, _ = predicted(capsys, images / "train", "--model", models["run"])
    assert [one["class"] for one in known] == ["blue", "green", "red"]
    assert not any(one["rejected"] for one in known)
    # A file of weights has no threshold, and the background is a class like any other.
    _, found, said = predicted(capsys, color_run[0] / "other", "--model", models["weights"])
    assert "the shorter side becomes 10 pixels (bilinear), of which the central 8 are seen" in said
    assert found[0]["class"] == "background"
    assert "rejected" not in found[0]


def test_the_probabilities_of_several_models_are_averaged(models, images, tmp_path, capsys):
    weights = export.read_weights(models["weights"])
    rng = np.random.default_rng(0)
    moved = jax.tree.map(lambda x: x + np.float32(0.3) * rng.random(x.shape), weights.variables)
    moved = jax.tree.map(np.float32, moved)
    export.write_weights(tmp_path / "b.safetensors", dataclasses.replace(weights, variables=moved))
    both = models["artifact"], tmp_path / "b.safetensors"

    def by_class(*flags):
        found = predicted(capsys, images / "validation", *flags, "--top", "9")
        assert found[0] == 0
        return [{x["class"]: x["probability"] for x in one["top"]} for one in found[1]], found[2]

    one, _ = by_class("--model", both[0])
    other, _ = by_class("--model", both[1])
    mean, said = by_class("--ensemble", *both)
    assert "Nothing is rejected" in said
    for a, b, m in zip(one, other, mean, strict=True):
        assert m == pytest.approx({name: (a[name] + b[name]) / 2 for name in a}, abs=2e-6)
    assert one != other


def test_models_of_other_classes_are_refused(models, images, tmp_path, capsys):
    weights = export.read_weights(models["weights"])
    others = {
        "order": (*weights.class_names[1::-1], *weights.class_names[2:]),
        "number": weights.class_names[:3],
    }
    for name, class_names in others.items():
        variables = weights.variables
        if name == "number":
            head = jax.tree.map(lambda x: x[..., :3], variables["params"]["head"])
            variables = variables | {"params": variables["params"] | {"head": head}}
        changed = dataclasses.replace(weights, class_names=class_names, variables=variables)
        export.write_weights(tmp_path / f"{name}.safetensors", changed)
        models_of = [str(models["artifact"]), str(tmp_path / f"{name}.safetensors")]
        assert predict.main([str(images), "--ensemble", *models_of]) == 2
        said = capsys.readouterr().err
        assert {
            "order": f"Class 0 of {models_of[1]} is 'green', and that of {models_of[0]} is 'blue'.",
            "number": f"{models_of[1]} knows 3 classes, and {models_of[0]} 4.",
        }[name] in said


def test_images_that_cannot_be_read_are_named(models, images, tmp_path, capsys, caplog):
    folder = tmp_path / "mixed"
    write(folder / "b.png", picture("red", 1))
    (folder / "a.jpg").write_bytes(b"")
    (folder / "c.webp").write_text("no image")
    whole = (folder / "b.png").read_bytes()
    (folder / "d.png").write_bytes(whole[: len(whole) // 2])
    (folder / "e.bmp").mkdir()
    (folder / "notes.txt").write_text("no image either")
    model = ("--model", models["artifact"])
    with caplog.at_level(logging.ERROR):
        code, found, said = predicted(
            capsys, folder, folder / "notes.txt", folder / "b.png", *model
        )
    assert code == 1
    assert said.endswith("4 of 5 images cannot be read.\n")
    assert [Path(one["image"]).name for one in found] == [
        *("a.jpg", "b.png", "c.webp", "d.png", "notes.txt")
    ]
    assert found[1]["class"] == "red"
    errors = [one.get("error") for one in found]
    assert errors[0] == "the file is empty"
    assert errors[2] == errors[4] == "its content is of no known image format"
    assert "truncated" in errors[3]

    assert predict.main([str(folder), *map(str, model)]) == 1
    table = capsys.readouterr().out.splitlines()
    assert "cannot be read: the file is empty" in table[1]
    assert table[2].split()[1] == "red"


def test_an_image_may_not_declare_more_pixels_than_the_run_allows(models, tmp_path, capsys):
    workdir = tmp_path / "workdir"
    shutil.copytree(models["run"], workdir)
    config = json.loads((workdir / "config.json").read_text())
    config["data"]["max_image_pixels"] = 2000
    (workdir / "config.json").write_text(json.dumps(config))
    write(tmp_path / "small.png", picture("red", 1, 40))
    write(tmp_path / "large.png", picture("red", 1, 48))
    files = tmp_path / "large.png", tmp_path / "small.png"
    assert export.main([str(workdir), str(tmp_path / "m.zip")]) == 0
    for model in (workdir, tmp_path / "m.zip"):
        code, found, _ = predicted(capsys, *files, "--model", model)
        assert code == 1
        assert found[0]["error"] == "it declares 48x48 pixels, more than 2000"
        assert found[1]["class"] == "red"


def test_a_result_that_is_not_a_number_is_no_prediction(models, images, tmp_path, capsys):
    weights = export.read_weights(models["weights"])
    broken = jax.tree.map(lambda x: np.full_like(x, np.nan), weights.variables)
    export.write_weights(tmp_path / "b.safetensors", dataclasses.replace(weights, variables=broken))
    code, found, _ = predicted(capsys, images / "train", "--model", tmp_path / "b.safetensors")
    assert code == 1
    assert {one["error"] for one in found} == {"the model's result is not a number"}


def test_more_images_than_a_batch_keep_their_order(models, tmp_path, capsys):
    for i in range(predict.BATCH + 3):
        write(tmp_path / f"{i:03}.png", picture("red" if i % 3 else "green", i, 20))
    code, found, _ = predicted(capsys, tmp_path, "--model", models["artifact"])
    assert code == 0
    assert [Path(one["image"]).stem for one in found] == [f"{i:03}" for i in range(len(found))]
    assert [one["class"] for one in found] == ["red" if i % 3 else "green" for i in range(35)]


def test_the_table_is_aligned():
    lines = predict.table(
        [
            predict.Prediction("a.jpg", "", (("猫", 0.75), ("dog", 0.25)), "猫", 0.75),
            predict.Prediction("folder/b\x1b[2J.jpg", "", (("dog", 1.0),), "dog", 1.0),
            predict.Prediction("c.jpg", "", (("dog", 0.5), ("猫", 0.5)), None, 0.5),
            predict.Prediction("d.jpg", "the file is empty"),
        ]
    ).splitlines()
    assert lines[0].split() == ["image", "class", "%", "then"]
    assert lines[1].split() == ["a.jpg", "猫", "75.00", "dog", "25.00"]
    assert lines[2].split() == ["folder/b?[2J.jpg", "dog", "100.00"]
    assert "none of these   50.00  dog 50.00, 猫 50.00" in lines[3]
    assert "-" in lines[4]
    assert "cannot be read: the file is empty" in lines[4]
    ends = {cell_len(line[: line.index(".00") + 3]) for line in lines[1:4]}
    assert len(ends) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere", "--model", "{run}"], "there is no such file or folder"),
        (["{empty}", "--model", "{run}"], "has no images"),
        (["{images}", "--model", "nowhere"], "is not the --workdir of a run, nor a file"),
        (["{images}", "--model", "{images}"], "is not the --workdir of a run"),
        (["{images}", "--model", "{images}/train/red/0.png"], "cannot be read as weights"),
        (["{images}", "--ensemble", "{artifact}", "{cut}"], "cannot be read as an exported model"),
    ],
)
def test_wrong_input_is_refused_in_words(models, images, tmp_path, arguments, words, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "cut.zip").write_bytes(models["artifact"].read_bytes()[:5000])
    names = models | {x: tmp_path / x for x in ("empty",)} | {"cut": tmp_path / "cut.zip"}
    assert predict.main([a.format(images=images, **names) for a in arguments]) == 2
    said = capsys.readouterr()
    assert words in said.err
    assert not said.out


@pytest.mark.parametrize(
    "arguments",
    [
        ["a.jpg"],
        ["--model", "m"],
        ["a.jpg", "--model", "m", "--top", "0"],
        ["a.jpg", "--model", "m", "--ensemble", "m", "n"],
    ],
)
def test_wrong_arguments_end_with_2(arguments):
    with pytest.raises(SystemExit, match="2"):
        predict.main(arguments)


def test_the_command_needs_no_code_of_the_model(models, images, tmp_path):
    """The tiny model is registered in this process only."""
    with zipfile.ZipFile(models["artifact"]) as archive:
        assert json.loads(archive.read("metadata.json"))["model"] == "tiny"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-m", "bot_jax.predict", images, "--model", models["artifact"]]
    done = subprocess.run(
        [*map(str, command)], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 1 + 16
    assert "predicted 16 of 16 images" in done.stderr
    rows = {tuple(line.split()[:2]) for line in lines[1:]}
    assert {(str(images / f"train/{color}/0.png"), color) for color in COLORS} <= rows


@pytest.mark.slow
def test_real_photographs(shared_data, models, capsys):
    """Odd and damaged files among them: each has its line, and nothing ends in a traceback."""
    folders = [shared_data / "clothing10" / "test", shared_data / "weird"]
    folders = [folder for folder in folders if folder.is_dir()]
    if not folders:
        pytest.skip("neither clothing10 nor weird is there")
    code, found, _ = predicted(capsys, *folders, "--model", models["artifact"])
    images = predict.find_images(folders)
    assert [one["image"] for one in found] == images
    bad = [one for one in found if "error" in one]
    assert code == (1 if bad else 0)
    assert not any("clothing10" in one["image"] for one in bad)
    assert np.isfinite([one["probability"] for one in found if "error" not in one]).all()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_weights_from_elsewhere_reach_their_accuracy(shared_data, tmp_path, capsys):
    """He's ResNet-20, by a program of it, on test images of CIFAR-10 encoded as JPEG."""
    source = shared_data.parent / "weights" / "resnet20-12fca82f.th"
    archive = shared_data / "cifar10_jpeg.tar"
    if not (source.exists() and archive.exists()):
        pytest.skip("the weights, or the images, are not there")
    with tarfile.open(archive) as file:
        members = [m for m in file if m.name.startswith("test/")]
        file.extractall(tmp_path, members, filter="data")
    (tmp_path / "classes.txt").write_text("\n".join(sorted(os.listdir(tmp_path / "test"))))
    options = ["--from", "pytorch_resnet_cifar10", "--model", "resnet20_cifar"]
    options += ["--classes", str(tmp_path / "classes.txt")]
    weights, program = str(tmp_path / "w.safetensors"), str(tmp_path / "m.zip")
    assert convert.main([*options, str(source), weights]) == 0
    assert export.main([weights, program, "--eval-resize", "32"]) == 0
    code, found, _ = predicted(capsys, tmp_path / "test", "--model", program, "--top", "1")
    hits = [one["class"] == Path(one["image"]).parent.name for one in found]
    assert (code, len(hits)) == (0, 10_000)
    assert 100 * np.mean(hits) == pytest.approx(81.0, abs=0.3)
