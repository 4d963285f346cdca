import json

import pytest
from PIL import Image

from bot_jax import plot


@pytest.fixture
def run(tmp_path):
    directory = tmp_path / "run"
    directory.mkdir()
    lines = [
        {"step": 1, "epoch": 0.5, "split": "train", "loss": 2.0, "top1": 5, "learning_rate": 0.1},
        {"step": 2, "epoch": 1.0, "split": "train", "loss": 1.0, "top1": 50, "learning_rate": 0.0},
        {"step": 2, "epoch": 1.0, "split": "train_clean", "loss": 0.4, "top1": 80, "top5": 99},
        {"step": 2, "epoch": 1.0, "split": "validation", "loss": 0.5, "top1": 70, "top5": 99},
    ]
    (directory / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return directory


def test_curves_of_two_runs(run, tmp_path, capsys):
    output = tmp_path / "curves.png"
    assert plot.main([str(run), str(run), "--output", str(output)]) == 0
    assert str(output) in capsys.readouterr().out
    with Image.open(output) as image:
        colors = {pixel for _, pixel in image.convert("RGB").getcolors(10**6)}
    assert (31, 119, 180) in colors or (255, 127, 14) in colors  # lines of the first two colours


@pytest.mark.parametrize(
    ("text", "words"), [(None, "not the --workdir of a run"), ("", "is empty"), ("{", "not JSON")]
)
def test_what_is_no_run_is_refused(tmp_path, capsys, text, words):
    if text is not None:
        (tmp_path / "metrics.jsonl").write_text(text)
    assert plot.main([str(tmp_path), "--output", str(tmp_path / "x.png")]) == 2
    assert words in capsys.readouterr().err


def test_an_output_that_cannot_be_written(run, tmp_path, capsys):
    assert plot.main([str(run), "--output", str(tmp_path / "no" / "x.png")]) == 2
    assert "cannot be written" in capsys.readouterr().err
