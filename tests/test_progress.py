import io

import pytest
from rich.console import Console

from bot_jax import progress


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (754, "12:34"), (3661, "1:01:01")]
)
def test_durations(seconds, text):
    assert progress.format_duration(seconds) == text


def test_stopwatch_leaves_pauses_out(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    watch = progress.Stopwatch(10)
    now[0] += 5
    watch.restart(10)  # compiled
    now[0] += 2
    watch.waited(0.5)
    assert watch.window(14) == (2.0, 0.25)  # 4 steps in 2 s, 0.5 s of them waiting
    now[0] += 1
    watch.pause()
    now[0] += 60  # evaluating
    watch.go_on()
    now[0] += 1
    assert watch.window(20) == (3.0, 0.0)
    assert watch.pace() == 10 / 4


def test_start_up_names_its_parts(monkeypatch):
    now = [107.5]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    start_up = progress.StartUp(100.0)
    start_up.finished("imports")
    now[0] += 0.25
    start_up.finished("set-up")
    assert start_up.scalars() == {"imports": 7.5, "set-up": 0.25, "total": 7.75}
    assert str(start_up) == "First step after 7.8 s: imports 7.5, set-up 0.2."


def test_plain_lines_where_there_is_no_terminal(capsys):
    line = progress.ProgressLine(10, 0)
    line.advance(3)
    line.news("epoch 1")
    line.line("done")
    line.close()
    assert capsys.readouterr().out == "epoch 1\ndone\n"


def test_tables_are_aligned(capsys):
    progress.print_table("Title", [("a", "1"), ("long name", "2")])
    assert capsys.readouterr().out == "\nTitle\n  a          1\n  long name  2\n"


def test_a_terminal_keeps_lines_as_they_are_and_the_newest_figures(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(progress.sys, "stdout", stream)
    monkeypatch.setattr(
        progress, "Console", lambda file: Console(file=file, force_terminal=True, width=80)
    )
    line = progress.ProgressLine(10, 0)
    line.line("[cat] 1.jpg was skipped")
    line.news("epoch 1.00/2  left 1:05")
    line.close()
    assert "[cat] 1.jpg was skipped" in stream.getvalue()
    assert "left 1:05" in stream.getvalue()
