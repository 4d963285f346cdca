"""Augmentation step by step: each row adds one, and the last one is what training sees."""

import itertools
import json

import numpy as np
import pytest
from report_helpers import parse, write_run

from bot_jax import show, workdir
from bot_jax.errors import InputError
from bot_jax.report import steps
from bot_jax.report.runs import read_runs


@pytest.fixture(scope="module")
def config(make_tiny_config):
    config = make_tiny_config()
    config.augment.mixup.alpha = 5.0  # so that both images show
    config.augment.horizontal_flip = {}
    config.augment.cutout = {"length": 4}
    return config


@pytest.fixture(scope="module")
def directory(config, tmp_path_factory):
    """A run that has no more than its configuration yet."""
    directory = tmp_path_factory.mktemp("runs") / "run"
    workdir.write_config(directory, config)
    return directory


@pytest.fixture(scope="module")
def rows(directory):
    return steps.make_steps(directory)


def test_one_augmentation_after_the_other(rows):
    """On pixels, then on normalised ones, then on a batch."""
    assert [row.title for row in rows] == [
        *("as they are", "random resized crop", "horizontal_flip", "color_jitter", "pca_noise"),
        *("cutout", "mixup"),
    ]
    assert "strength 0.4" in rows[3].details
    assert "length 4" in rows[5].details


def test_the_last_row_is_what_training_sees(rows, config):
    shown = show.make_rows(config, 8)
    for ours, theirs in ((rows[0], shown[0]), (rows[1], shown[1]), (rows[-1], shown[-1])):
        np.testing.assert_array_equal(ours.images, theirs.images)
        assert ours.captions == theirs.captions
    assert shown[-1].title == "all"


def test_each_row_changes_the_row_before(rows):
    images = [row.images.astype(float) for row in rows]
    crops, flipped, jittered, noisy, cut, mixed = images[1:]
    mirrored = (flipped == crops[:, :, ::-1]).all(axis=(1, 2, 3))
    same = (flipped == crops).all(axis=(1, 2, 3))
    assert (mirrored | same).all()
    assert mirrored.any()  # the draws of this seed
    assert same.any()
    assert (np.abs(jittered - flipped).max(axis=(1, 2, 3)) > 3).all()
    assert np.abs(noisy - jittered).max() > 0
    # A hole of at most 4 by 4 pixels in the mean colour; all else is as before.
    for before, after in zip(noisy, cut, strict=True):
        changed = np.argwhere((before != after).any(-1))
        assert 0 < len(changed) <= 16
        assert (changed.max(0) - changed.min(0) < 4).all()
    # Rows of a group of four are mixed with those in reverse order; the shares have two digits.
    for i, caption in enumerate(rows[-1].captions):
        partner = i // 4 * 4 + 3 - i % 4
        shares = dict(part.split() for part in caption.split(" + ")) if "+" in caption else {}
        share = float(shares.get(rows[0].captions[i], 1.0))
        if rows[0].captions[i] != rows[0].captions[partner]:
            expected = share * cut[i] + (1 - share) * cut[partner]
            np.testing.assert_allclose(mixed[i], expected, atol=0.005 * 255 + 1.01)


def test_the_section(directory, rows):
    runs = read_runs([directory])
    (block,) = steps.sections(runs, [[0]], [rows], 10**6)
    parsed = parse(block)
    assert parsed.tags.count("img") == 8 * 7
    flips = (rows[1].images == rows[2].images).all(axis=(1, 2, 3)).sum()
    later = sum(
        int((a.images == b.images).all(axis=(1, 2, 3)).sum()) for a, b in itertools.pairwise(rows)
    )
    assert parsed.texts.count("unchanged") == later >= flips > 0
    assert rows[-1].captions[0] in parsed.texts


def test_runs_that_augment_alike_are_shown_once(tmp_path, config):
    changes = [{}, {"seed": 3}, {"label_smoothing": {"epsilon": 0.3}}, {"augment": {}}]
    for i, change in enumerate(changes):
        own = json.loads(json.dumps(config.to_dict())) | change
        write_run(tmp_path / f"run{i}", config=own, result=None)
    runs = read_runs([tmp_path / f"run{i}" for i in range(4)])
    groups = steps.same_images(runs)
    assert groups == [[0, 1, 2], [3]]
    one, other = steps.sections(runs, groups, ["Nothing.", "Nothing either."], 10**6)
    assert parse(one).texts == ["run0", " ", "run1", " ", "run2", " ", "Nothing."]
    assert parse(other).texts == ["run3", " ", "Nothing either."]


def test_only_so_many_pictures(tmp_path):
    """Eight for each augmentation and the two rows before: 15 runs of two, not 16."""
    names = [f"augmentation{i}" for i in range(2 * 20)]
    for i in range(20):
        augment = {name: {} for name in names[2 * i : 2 * i + 2]}
        write_run(tmp_path / f"run{i}", config={"augment": augment})
    runs = read_runs([tmp_path / f"run{i}" for i in range(20)])
    groups = steps.same_images(runs)
    assert steps.is_shown(runs, groups) == [8 * 4 * (i + 1) <= 500 for i in range(20)]
    assert sum(steps.is_shown(runs, groups)) == 15


def test_data_that_are_gone(tmp_path, config):
    own = config.to_dict()
    own["data"] |= {"source": "folder", "path": str(tmp_path / "nowhere")}
    workdir.write_config(tmp_path, type(config)(own))
    with pytest.raises(InputError, match="is not a folder"):
        steps.make_steps(tmp_path)


def test_names_of_classes_and_options_stay_texts(directory):
    hostile = '"><script>alert(1)</script>'
    row = show.Row(hostile, [hostile], np.zeros((8, 8, 8, 3), np.uint8), [hostile] * 8)
    (block,) = steps.sections(read_runs([directory]), [[0]], [[row]], 10**6)
    parsed = parse(block)
    assert "script" not in parsed.tags
    assert parsed.texts.count(hostile) == 10
