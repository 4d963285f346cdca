import json

import numpy as np
import pytest

from bot_jax import results
from bot_jax.errors import InputError

RESULT = {
    "top1": 75.0,
    "top5": 100.0,
    "loss": 0.5,
    "num_examples": 1234,
    "split": "test",
    "images_per_second": 1500.4,
    "skipped_images": ["a.jpg"],
    "skipped_in_evaluation": 2,
}


def test_written_and_read_again(tmp_path):
    assert results.read(tmp_path) is None
    evaluation = {"classes": np.array([[1, 1], [0, 1], [0, 0], [1, 1]])}
    results.write(tmp_path, ("cat", "dog"), RESULT, evaluation)
    assert results.read(tmp_path) == RESULT
    assert (tmp_path / "confusion_test.csv").read_text().endswith("dog,0,2\n")
    results.write(tmp_path, ("cat", "dog"), RESULT, evaluation, "evaluation_test")
    assert json.loads((tmp_path / "evaluation_test.json").read_text()) == RESULT


def test_the_table_that_ends_a_run(capsys):
    results.print_result(RESULT, "runs/a/result.json")
    assert capsys.readouterr().out.splitlines() == [
        "",
        "Result",
        "  top-1     75.00 %",
        "  top-5     100.00 %",
        "  loss      0.5000",
        "  examples  1,234 of test",
        "  images/s  1,500 in training",
        "  skipped   3 images that cannot be decoded",
        "  results   runs/a/result.json",
    ]


def test_nothing_is_said_of_what_was_not_measured(capsys):
    quiet = {name: RESULT[name] for name in ("top1", "top5", "loss", "num_examples", "split")}
    results.print_result(quiet | {"skipped_in_evaluation": 0}, "x")
    printed = capsys.readouterr().out
    assert "images/s" not in printed
    assert "skipped" not in printed


@pytest.mark.parametrize("content", [b'{"top1": 97.', b"\xff\xfe"])
def test_a_broken_result_is_refused_with_what_to_do(tmp_path, content):
    (tmp_path / "result.json").write_bytes(content)
    with pytest.raises(InputError, match=r"result.json cannot be read.*Remove it"):
        results.read(tmp_path)
