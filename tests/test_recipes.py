"""Listing the rows of a file, on the command line as a user does."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from bot_jax.config import load_config, load_module
from bot_jax.errors import InputError
from bot_jax.recipes import help_text, summarize

ROOT = Path(__file__).resolve().parents[1]
FILES = [f"configs/table{n}.py" for n in range(2, 8)] + ["configs/gluoncv.py"]


@pytest.fixture(autouse=True)
def in_checkout(monkeypatch):
    monkeypatch.chdir(ROOT)


def run(*arguments):
    command = (sys.executable, "-m", "bot_jax.main", *arguments)
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


def table_of(text):
    """{row: {column: value}} of a printed table, which has two spaces between columns."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("row "))
    header = [name.strip() for name in lines[start].split("  ") if name.strip()]
    body = lines[start + 1 : lines.index("", start)]
    values = [[v.strip() for v in line.split("  ") if v.strip()] for line in body]
    return {row[0]: dict(zip(header, row, strict=True)) for row in values}


@pytest.mark.parametrize("file", FILES)
def test_every_row_is_listed_with_its_numbers(file):
    rows = load_module(Path(file)).ROWS
    text = help_text(file)
    table = table_of(text)
    assert list(table) == list(rows)
    for name, row in rows.items():
        config = load_config(f"{file}:{name}")
        line = table[name]
        assert line["epochs"] == f"{config.epochs:g}"
        assert line["batch"] == f"{config.batch_size:,}"
        assert line["BN group"] == str(config.batch_norm.group_size)
        paper = row.paper_mean or row.paper
        if paper:
            assert line["paper top-1"].startswith(f"{paper.top1:.2f}")
            assert line["top-5"].startswith(f"{paper.top5:.2f}")
        if row.gluoncv:
            assert line["GluonCV"] == f"{row.gluoncv.top1:.2f}/{row.gluoncv.top5:.2f}"
        summary = summarize(file, name, row)
        images = {"imagenet2012": 1_281_167, "places365_small": 1_803_460}[config.data.tfds_name]
        assert line["steps"] == f"{round(config.epochs * (images // config.batch_size)):,}"
        assert summary.command.endswith(f"--config {file}:{name} --workdir runs/{name}")
    assert f"--config {file}:{next(iter(rows))} --workdir runs/" in text


def test_a_mean_is_listed_with_its_spread_and_the_single_run():
    line = table_of(help_text("configs/table6.py"))["resnet50_d_distill_mixup"]
    assert line["paper top-1"] == "79.33±0.07"
    assert line["top-5"] == "94.66±0.03"
    assert line["one run"] == "79.29/94.63"
    assert line["GluonCV"] == "-"
    assert line["hours"].startswith("~")


def test_columns_are_aligned():
    lines = help_text("configs/table6.py").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("row "))
    column = lines[start].index("paper top-1")
    for line in lines[start : lines.index("", start)]:
        assert line[column - 1] == " " != line[column]


def test_what_the_paper_has_of_the_test_split_is_listed():
    assert "places365_best       test 57.63/87.82" in help_text("configs/table7.py")


def test_help_on_the_command_line():
    started = time.perf_counter()
    done = run("--config", "configs/table6.py:help")
    assert time.perf_counter() - started < 30  # a hang, not a slow machine
    assert done.returncode == 0, done.stderr
    assert "resnet50_d_mixup" in done.stdout
    assert not done.stderr


def test_help_imports_no_jax():
    program = "import sys; from bot_jax.main import main\n"
    program += "assert main(['--config=configs/gluoncv.py:help']) == 0\n"
    program += "assert not {'jax', 'tensorflow', 'flax', 'numpy.random'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("configs/table6.py", "has rows; say which: --config configs/table6.py:ROW."),
        ("configs/table6.py:", "has rows; say which"),
        ("configs/table6.py:resnet50d_cosine", "Did you mean 'resnet50_d_cosine'?"),
        ("configs/gluoncv.py:mobilenet0.7", "Did you mean 'mobilenet0.75'?"),
    ],
)
def test_wrong_rows_end_with_code_2_and_say_how_to_list_them(location, words):
    done = run("--config", location)
    file = location.partition(":")[0]
    assert done.returncode == 2
    assert words in done.stderr
    assert f"`python -m bot_jax.main --config {file}:help` lists them" in done.stderr
    assert "Traceback" not in done.stderr


def test_rows_of_a_file_without_a_list_of_them(tmp_path):
    (tmp_path / "rows.py").write_text("def get_config(row):\n    return {}[row]\n")
    with pytest.raises(InputError, match=r"rows\.py has rows; say which: .*:ROW\.$"):
        load_config(str(tmp_path / "rows.py"))
    with pytest.raises(InputError, match=r"rows\.py, line 2: KeyError: 'a'"):
        load_config(str(tmp_path / "rows.py:a"))
    with pytest.raises(InputError, match="has no rows: leave out ':help'"):
        help_text(str(tmp_path / "rows.py"))


def test_help_of_a_file_without_rows_or_that_is_not_there():
    with pytest.raises(InputError, match="has no rows: leave out ':help'"):
        help_text("configs/quickstart.py")
    with pytest.raises(InputError, match=r"Did you mean 'configs/table6\.py'"):
        help_text("configs/tabel6.py")


def test_the_line_of_an_error_is_named_for_a_relative_path_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("c.py").write_text("def get_config():\n    return 1 / 0\n")
    with pytest.raises(InputError, match=r"c\.py, line 2: ZeroDivisionError"):
        load_config("c.py")
