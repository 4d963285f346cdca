"""The paper's figures: the gap against NumPy, and pictures of real runs."""

import json

import numpy as np
import pytest
from PIL import Image

from bot_jax import figures, train
from bot_jax.errors import InputError


@pytest.fixture(scope="module")
def runs(make_tiny_config, tmp_path_factory):
    """A run with step decay, one with cosine decay, and one with smoothing as well."""
    folder = tmp_path_factory.mktemp("runs")
    for name, schedule, epsilon in (("a", "step", 0.0), ("b", "cosine", 0.0), ("c", "cosine", 0.1)):
        config = make_tiny_config()
        config.schedule.name = schedule
        config.schedule.boundaries_epochs = (0.75,)
        config.label_smoothing.epsilon = epsilon
        train.train(config, folder / name)
    (folder / "unfinished").mkdir()
    first = (folder / "a" / "metrics.jsonl").read_text().splitlines()[0]
    (folder / "unfinished" / "metrics.jsonl").write_text(first + "\n")
    return folder


def test_gap_is_the_largest_logit_minus_the_mean_of_the_others():
    logits = np.random.default_rng(0).normal(size=(50, 7))
    expected = [row.max() - np.delete(row, row.argmax()).mean() for row in logits]
    np.testing.assert_allclose(figures.logit_gaps(logits), expected)


def test_logits_of_a_run_give_its_accuracy(runs):
    from bot_jax.data import digits
    from bot_jax.results import read
    from configs import quickstart

    logits = figures.evaluation_logits(runs / "b")
    assert logits.shape == (360, 10)
    source = digits.make(quickstart.get_config().data, "validation")
    labels = np.array([int(source.read(i)[1]) for i in range(360)])
    top1 = 100 * (logits.argmax(-1) == labels).mean()
    np.testing.assert_allclose(top1, read(runs / "b")["top1"], atol=1e-3)


@pytest.mark.parametrize("name", ["a", "b"])
def test_rates_are_those_that_the_run_logged(runs, name):
    """All 22 steps, and so the boundary of the step decay to the step."""
    epochs, rates = figures.scheduled_rates(runs / name)
    assert len(rates) == 22
    lines = [line for line in figures.read_metrics(runs / name) if "learning_rate" in line]
    for line in lines:
        assert rates[line["step"] - 1] == pytest.approx(line["learning_rate"], rel=1e-6)
        assert epochs[line["step"] - 1] == pytest.approx(line["epoch"] - 1 / 22, abs=1e-3)
    if name == "a":
        boundary = round(0.75 * 22)
        np.testing.assert_allclose(rates[boundary] / rates[boundary - 1], 0.1, rtol=1e-5)
        assert len({float(rate) for rate in rates[boundary:]}) == 1


def test_rates_that_follow_from_the_run_are_refused(runs, tmp_path):
    config = json.loads((runs / "a" / "config.json").read_text())
    config["schedule"]["name"] = "plateau"
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "metrics.jsonl").write_text((runs / "a" / "metrics.jsonl").read_text())
    with pytest.raises(InputError, match="not known before the run"):
        figures.scheduled_rates(tmp_path)


def test_both_figures_from_one_command(runs, tmp_path, capsys):
    flags = ["--step", "a", "--cosine", "b", "--plain", "b", "--smoothed", "c"]
    flags = [str(runs / flag) if len(flag) == 1 else flag for flag in flags]
    assert figures.main([*flags, "--output", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    for name in ("figure3.png", "figure4.png"):
        assert name in printed
        with Image.open(tmp_path / name) as image:
            colors = {pixel for _, pixel in image.convert("RGB").getcolors(10**6)}
        assert {(31, 119, 180), (255, 127, 14)} <= colors  # lines of both runs


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "Say which runs"),
        (["--step", "a"], "--step and --cosine come together"),
        (["--plain", "c", "--smoothed", "b"], "--plain is a run without"),
        (["--step", "nowhere", "--cosine", "b"], "not the --workdir of a run"),
        (["--step", "unfinished", "--cosine", "b"], "has not been evaluated yet"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(runs, tmp_path, capsys, flags, words):
    flags = [str(runs / flag) if not flag.startswith("--") else flag for flag in flags]
    assert figures.main([*flags, "--output", str(tmp_path)]) == 2
    assert words in capsys.readouterr().err
