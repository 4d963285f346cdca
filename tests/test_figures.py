"""The paper's figures: the gap against NumPy, and pictures of real runs."""

import numpy as np
import pytest
from PIL import Image

from bot_jax import figures, train


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
