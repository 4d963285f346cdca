"""The curves, read back from the pictures as `report.js` does."""

import itertools
import math
import re

import pytest
from report_helpers import metrics, write_run

from bot_jax.report import curves
from bot_jax.report.runs import read_runs


def read_back(page):
    """(panel, run, split) -> points, by the data attributes of each picture."""
    found = {}
    for panel in re.findall(r"<figure>.*?</figure>", page, re.S):
        label = re.search(r"<figcaption>(.*?)<", panel)[1]
        x_low, x_high, left, right = map(float, re.search(r'data-x="(.*?)"', panel)[1].split())
        y_low, y_high, bottom, top = map(float, re.search(r'data-y="(.*?)"', panel)[1].split())
        for curve in re.findall(r'<g class="curve.*?</g>', panel, re.S):
            path = re.search(r' d="M(.*?)"', curve)[1]
            points = [tuple(map(float, pair.split())) for pair in path.split("L")]
            run = int(re.search(r'data-run="(\d+)"', curve)[1])
            split = re.search(r"<title>(.*?)<", curve)[1]
            found[label, run, split] = [
                (
                    x_low + (x - left) / (right - left) * (x_high - x_low),
                    y_low + (bottom - y) / (bottom - top) * (y_high - y_low),
                )
                for x, y in points
            ]
    return found


def flat(points):
    return [number for point in points for number in point]


@pytest.fixture
def page(tmp_path):
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", lines=metrics(2, losses=[3.0, float("nan")]))
    return curves.panels(read_runs([tmp_path / "a", tmp_path / "b"]))


def test_values_by_hand(page):
    found = read_back(page)
    assert len(found) == 2 * (3 + 3 + 1)  # splits of loss, of top-1, and one learning rate
    losses = found["loss (nats)", 0, "train"]
    assert flat(losses) == pytest.approx([1, 2.0, 2, 1.0, 3, 2 / 3, 4, 0.5], abs=0.01)
    top1 = found["top-1 (%)", 0, "validation"]
    assert flat(top1) == pytest.approx([1, 18.75, 2, 37.5, 3, 56.25, 4, 75], abs=0.02)
    rates = found["learning rate", 1, "train"]
    assert flat(rates) == pytest.approx([1, 0.075, 2, 0.05], abs=0.002)


def test_what_is_no_number_is_left_out(page):
    assert flat(read_back(page)["loss (nats)", 1, "train"]) == pytest.approx([1, 3.0], abs=0.01)
    assert "nan" not in page.lower().replace("(nats)", "")


def test_every_line_has_its_run_and_its_kind(page):
    kinds = re.findall(r'class="curve run-(\d) (\w+)"', page)
    assert kinds.count(("1", "train_clean")) == 2
    assert kinds.count(("0", "rate")) == 1
    assert re.findall(r'<button type="button" data-run="(\d)" aria-pressed="true">', page) == [
        *("0", "1")
    ]


@pytest.mark.parametrize(
    ("low", "high"),
    [(0, 100), (0.013, 0.42), (-3, 7), (5, 5), (0, 0), (1e-9, 2e-9), (0, 1e29), (0, 1e-320)],
)
def test_ticks_are_round_and_enclose(low, high):
    found = curves.ticks(low, high)
    assert 2 <= len(found) <= 9
    assert found[0] <= low
    assert found[-1] >= high * (1 - 1e-9) - 1e-30
    steps = [b - a for a, b in itertools.pairwise(found)]
    assert max(steps) == pytest.approx(min(steps))
    assert f"{steps[0]:.6e}"[:3].strip("0") in ("1.", "2.", "2.5", "5.")
    assert all(math.isfinite(value) for value in found)


@pytest.mark.parametrize("count", [1, 2, 300, 301, 10_000])
def test_long_lines_are_thinned_out_to_the_last_point(count):
    points = [(i, i) for i in range(count)]
    kept = curves.thin_out(points)
    assert min(count, 150) <= len(kept) <= 301
    assert (kept[0], kept[-1]) == (points[0], points[-1])
    assert count > 300 or kept == points


def test_nothing_logged(tmp_path):
    write_run(tmp_path / "a", lines=[{"step": 1, "epoch": "soon", "split": "train", "loss": 1}])
    assert "No run has logged anything" in curves.panels(read_runs([tmp_path / "a"]))
