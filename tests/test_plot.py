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
    ("text", "words"),
    [
        (None, "not the --workdir of a run"),
        ("", "is empty"),
        ('{"step": 1, "epo', "is empty"),  # the first line is being written
        ("{\n", "not JSON"),
        (b"\xff\n", "not JSON"),
        ("[1]\n", "without step, epoch and split"),
        ('{"step": 1, "epoch": 1.0}\n', "without step, epoch and split"),
    ],
)
def test_what_is_no_run_is_refused(tmp_path, capsys, text, words):
    if text is not None:
        text = text.encode() if isinstance(text, str) else text
        (tmp_path / "metrics.jsonl").write_bytes(text)
    assert plot.main([str(tmp_path), "--output", str(tmp_path / "x.png")]) == 2
    assert words in capsys.readouterr().err


def test_a_line_that_is_being_written_is_left_out(run):
    file = run / "metrics.jsonl"
    text = file.read_text()
    lines = plot.read_metrics(run)
    assert [line["step"] for line in lines] == [1, 2, 2, 2]
    for end in ("{", '{"step": 3, "epoch": 1.5, "split": "tr', '{"step": 3, "loss": 1'):
        file.write_text(text + end)
        assert plot.read_metrics(run) == lines


def test_an_output_that_cannot_be_written(run, tmp_path, capsys):
    assert plot.main([str(run), "--output", str(tmp_path / "no" / "x.png")]) == 2
    assert "cannot be written" in capsys.readouterr().err
