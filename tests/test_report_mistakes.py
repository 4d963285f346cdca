"""The most confident mistakes of a real run, against its logits as another command has them."""

import json
import re
import shutil

import numpy as np
import pytest
from report_helpers import parse, table_of, write_run
from test_report_pictures import opened

from bot_jax import figures, results, train
from bot_jax.data.digits import split_members
from bot_jax.errors import InputError
from bot_jax.report import confusion, mistakes, steps
from bot_jax.report.__main__ import main
from bot_jax.report.runs import read_runs


@pytest.fixture(scope="module")
def run(make_tiny_config, tmp_path_factory):
    """A run of one epoch, which makes many mistakes."""
    directory = tmp_path_factory.mktemp("runs") / "tiny"
    config = make_tiny_config()
    config.data.eval_split = "validation"
    train.train(config, directory)
    return directory


@pytest.fixture(autouse=True)
def no_augmentation(monkeypatch):
    """Which takes longer, and has its own tests."""

    def make_steps(directory):
        raise InputError("Left out.")

    monkeypatch.setattr(steps, "make_steps", make_steps)


@pytest.fixture(scope="module")
def expected(run):
    """True and predicted classes [360], and the probabilities of the latter, in NumPy."""
    from sklearn.datasets import load_digits

    logits = figures.evaluation_logits(run).astype(np.float64)
    images, labels = load_digits(return_X_y=True)
    members = split_members(labels, "validation")
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    probabilities = exponentials / exponentials.sum(-1, keepdims=True)
    pixels = np.round(images[members].reshape(-1, 8, 8) * (255 / 16))
    return labels[members], logits.argmax(-1), probabilities.max(-1), pixels, members


def test_they_are_the_most_confident_ones(run, expected):
    true, predicted, confidence, pixels, members = expected
    found = mistakes.find_mistakes(run, 10)
    assert (found.split, found.examples) == ("validation", 360)
    assert found.right == (true == predicted).sum()
    wrong = np.flatnonzero(true != predicted)
    order = wrong[np.argsort(-confidence[wrong], kind="stable")][:10]
    assert len(order) == 10
    for mistake, i in zip(found.mistakes, order, strict=True):
        assert mistake.confidence == pytest.approx(confidence[i], abs=1e-5)
        assert (mistake.true, mistake.predicted) == (str(true[i]), str(predicted[i]))
        assert str(members[i]) in mistake.file
        np.testing.assert_array_equal(mistake.image, np.repeat(pixels[i][..., None], 3, -1))


def test_the_confusion_matrix_is_that_of_the_logits(run, expected):
    true, predicted, *_ = expected
    (block,) = confusion.sections(read_runs([run]), 10**6)
    cells = [[int(cell or 0) for cell in line[1:]] for line in table_of(block)[1:]]
    counted = [[int(((true == i) & (predicted == j)).sum()) for j in range(10)] for i in range(10)]
    assert cells == counted


def test_the_pictures_of_the_page(run, tmp_path, capsys):
    output = tmp_path / "report.html"
    assert main([str(run), "--output", str(output), "--mistakes", "3"]) == 0
    assert "evaluated 360 of 360 images" in capsys.readouterr().out
    page = output.read_text()
    cards = page[page.index('<div class="cards">') :]
    addresses = re.findall(r'src="(data:image/jpeg.*?)"', cards)
    found = mistakes.find_mistakes(run, 3).mistakes
    for mistake, address in zip(found, addresses[:3], strict=True):
        assert np.abs(opened(address).astype(int) - mistake.image).mean() < 8
        words = f"<b>{mistake.true}</b> taken for <b>{mistake.predicted}</b>, "
        assert f"{words}{100 * mistake.confidence:.1f}" in page
    top1 = results.read(run)["top1"]
    assert f"{top1:.2f} % ({top1:.2f} % when it was trained)" in page


def test_without_mistakes_nothing_is_evaluated(run, tmp_path, capsys):
    output = tmp_path / "report.html"
    assert main([str(run), "--output", str(output), "--mistakes", "0"]) == 0
    assert "evaluated" not in capsys.readouterr().out
    assert "mistakes" not in output.read_text().partition("<body>")[2]
    assert main([str(run), str(run), "--output", str(output), "--mistakes", "201"]) == 2
    assert "from 0 to 200 for 2 run(s)" in capsys.readouterr().err


def test_a_run_without_its_checkpoint_still_has_a_page(run, tmp_path):
    """And so has one that is not finished, and one whose data are gone."""
    gone = tmp_path / "gone"
    shutil.copytree(run, gone)
    shutil.rmtree(gone / "checkpoints")
    moved = tmp_path / "moved"
    shutil.copytree(run, moved)
    config = json.loads((moved / "config.json").read_text())
    config["data"] |= {"source": "folder", "path": str(tmp_path / "nowhere")}
    (moved / "config.json").write_text(json.dumps(config))
    unfinished = write_run(tmp_path / "unfinished", result=None)
    output = tmp_path / "report.html"
    arguments = [str(gone), str(unfinished), str(moved), str(run), "--output", str(output)]
    assert main([*arguments, "--mistakes", "1"]) == 0
    parsed = parse(output.read_text())
    assert parsed.tags.count("svg") == 3 + 3  # and those of the legend
    texts = "".join(parsed.texts)
    assert "There is no checkpoint in" in texts
    assert "is not finished; train it to its end first" in texts
    assert f"'{tmp_path / 'nowhere'}' is not a folder" in texts
    assert "Of the " in texts  # mistakes of the last run


def test_other_classes_than_it_was_trained_on(run, tmp_path):
    from bot_jax import workdir

    other = tmp_path / "other"
    shutil.copytree(run, other)
    workdir.write_class_names(other, [f"number {i}" for i in range(10)])
    with pytest.raises(InputError, match="does not have the classes"):
        mistakes.find_mistakes(other, 3)


def test_names_of_files_and_classes_stay_texts(tmp_path):
    (run,) = read_runs([write_run(tmp_path / "a")])
    hostile = "</b><script>alert(1)</script>"
    image = np.zeros((8, 8, 3), np.uint8)
    own = mistakes.Mistake(image, hostile, hostile, 0.5, hostile + "/" * 300)
    found = [mistakes.Evaluation([own], hostile, 2, 1)]
    (block,) = mistakes.sections([run], found, 10**6)
    parsed = parse(block)
    assert "script" not in parsed.tags
    assert parsed.texts.count(hostile) == 2
