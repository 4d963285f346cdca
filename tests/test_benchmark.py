import json

import pytest
from PIL import Image

from bot_jax import benchmark


def test_ratios_are_of_the_same_round():
    # The machine is twice as slow in the second round; ours always takes half as long.
    seconds = {"bot_jax": [1.0, 2.0, 1.5], "other": [2.0, 4.0, 3.0]}
    ours, other = benchmark.summarize(seconds)
    assert ours["ours_to_it"] == [1, 1, 1]
    assert other["seconds"] == [3.0, 2.0, 4.0]
    assert other["ours_to_it"] == [0.5, 0.5, 0.5]


def test_the_table(capsys):
    rows = benchmark.summarize({"bot_jax": [1.0], "flax example": [4.0]})
    benchmark.print_rows(rows, images=0)
    benchmark.print_rows(rows, images=1000)
    lines = capsys.readouterr().out.splitlines()
    assert lines[3].split() == [
        "flax",
        "example",
        "4.0000",
        "4.0000",
        "..",
        "4.0000",
        "0.25",
        "0.25",
        "..",
        "0.25",
    ]
    assert lines[-1].split()[-5:] == ["250", "0.25", "0.25", "..", "0.25"]
    for title, *of_table in (lines[1:4], lines[5:8]):
        assert {len(line) for line in of_table} == {len(title)}


def test_photographs_are_made_up_where_none_are_given(tmp_path):
    benchmark.write_photographs(tmp_path, count=16)
    files = sorted(tmp_path.rglob("*.jpg"))
    assert len(files) == 16
    assert {file.relative_to(tmp_path).parts[:2] for file in files} == {
        ("train", "class0"),
        ("train", "class1"),
        ("validation", "class0"),
    }
    with Image.open(files[0]) as image:
        assert image.size == (400, 533)
    assert 20_000 < files[0].stat().st_size < 200_000


@pytest.mark.slow
@pytest.mark.parametrize("part", ["step", "input", "loop", "eval", "startup"])
def test_every_part_runs(part, capsys, tmp_path):
    flags = [f"--part={part}", "--model=resnet20_cifar", "--image-size=32", "--batch=8"]
    flags += ["--rounds=1", "--units=2", f"--json={tmp_path / 'figures.json'}"]
    assert benchmark.main(flags) == 0
    printed = capsys.readouterr().out
    rows = json.loads((tmp_path / "figures.json").read_text())["rows"]
    assert len(rows) >= (1 if part == "eval" else 2)
    for row in rows:
        assert row["name"] in printed
        assert 0 < row["seconds"][0] < 600
