"""The confusion matrix: numbers counted otherwise, as a table and as a picture."""

import base64
import collections
import io
import re

import numpy as np
import pytest
from PIL import Image
from report_helpers import NAMES, RESULT, parse, table_of, write_run

from bot_jax.report import confusion
from bot_jax.report.runs import read_runs

# Cats: 2 of 4 right, 1 a dog, 1 a cow. Dogs: 1 of 4 right, 3 cats. No cow.
CLASSES = [[0, 0], [0, 0], [0, 2], [0, 1], [1, 1], [1, 0], [1, 0], [1, 0]]


def section(directory, budget=400_000):
    (block,) = confusion.sections(read_runs([directory]), budget)
    return block


def test_tables_by_hand(tmp_path):
    page = section(write_run(tmp_path / "a", classes=CLASSES))
    assert table_of(page, 0) == [
        ["", *NAMES],
        ["cat", "2", "1", "1"],
        ["dog", "3", "1", ""],
        ["cow", "", "", ""],
    ]
    assert table_of(page, 1)[1:] == [
        ["dog", "cat", "3", "75.0"],
        ["cat", "dog", "1", "25.0"],
        ["cat", "cow", "1", "25.0"],
    ]
    assert table_of(page, 2)[1:] == [
        ["dog", "4", "25.0", "50.0", "33.3"],
        ["cat", "4", "50.0", "40.0", "44.4"],
    ]
    assert 'title="dog taken for cat: 75.0% of its images"' in page
    assert page.count('class="right') == 2
    assert page.count('class="wrong') == 3


def test_every_cell_is_what_is_counted(tmp_path):
    rng = np.random.default_rng(0)
    names = [f"class {i}" for i in range(25)]
    examples = rng.integers(0, 25, (3000, 2))
    page = section(write_run(tmp_path / "a", names=names, classes=examples))
    counted = collections.Counter(map(tuple, examples.tolist()))
    table = table_of(page, 0)
    assert table[0][1:] == names
    assert [line[0] for line in table[1:]] == names
    for true in range(25):
        for predicted in range(25):
            cell = table[1 + true][1 + predicted]
            assert int(cell or 0) == counted[true, predicted]


def opacity_of(page):
    address = re.search(r'src="data:image/png;base64,(.*?)"', page)[1]
    with Image.open(io.BytesIO(base64.b64decode(address))) as image:
        pixels = np.asarray(image)
    return pixels


def test_many_classes_are_a_picture(tmp_path):
    names = [f"class {i}" for i in range(26)]
    classes = [[i, i] for i in range(26)] + [[3, 7]] * 3
    page = section(write_run(tmp_path / "a", names=names, classes=classes))
    pixels = opacity_of(page)
    assert pixels.shape == (26, 26, 4)
    expected = np.eye(26)
    expected[3, 3], expected[3, 7] = np.sqrt(0.25), np.sqrt(0.75)
    np.testing.assert_allclose(pixels[..., 3] / 255, expected, atol=0.003)
    assert pixels[0, 0, 2] > 200  # blue
    assert pixels[3, 7, 0] > 200  # orange
    assert table_of(page)[1] == ["class 3", "class 7", "3", "75.0"]
    assert len(table_of(page, 1)) == 1 + 10


def test_neighbouring_classes_share_a_pixel():
    pairs, counts = np.array([[0, 0], [1, 1], [2, 2], [3, 0]]), np.array([5, 1, 2, 4])
    pixels = confusion.draw_matrix(4, pairs, counts, 3)  # two classes a pixel
    assert pixels.shape == (2, 2, 4)
    opacity = pixels[..., 3] / 255
    np.testing.assert_allclose(opacity, np.sqrt([[1, 0], [0.5, 0.5]]), atol=0.003)
    assert pixels[1, 0].argmax() in (0, 3)
    assert tuple(pixels[0, 0, :3]) == (30, 120, 210)


@pytest.mark.parametrize(("budget", "size"), [(10**6, 500), (50_000, 200), (100, 59)])
def test_a_thousand_classes_fit_in_what_there_is(tmp_path, budget, size):
    classes = np.random.default_rng(0).integers(0, 1000, (20_000, 2))
    names = [str(i) for i in range(1000)]
    page = section(write_run(tmp_path / "a", names=names, classes=classes), budget)
    assert len(opacity_of(page)) == size  # of 2, 5 or 17 classes a pixel
    assert size == 59 or len(re.search(r'src="(.*?)"', page)[1]) <= budget
    assert "1,000 classes" in page


def test_tables_of_many_runs_become_pictures(tmp_path):
    names = [str(i) for i in range(20)]
    directories = [
        write_run(tmp_path / str(run), names=names, classes=[[i, i] for i in range(20)])
        for run in range(13)
    ]
    few = "".join(confusion.sections(read_runs(directories[:12]), 400_000))
    many = "".join(confusion.sections(read_runs(directories), 400_000))
    assert few.count("data:image/png") == 0
    assert many.count("data:image/png") == 13


def test_of_many_runs_only_the_first_is_unfolded(tmp_path):
    directories = [write_run(tmp_path / str(i), classes=CLASSES) for i in range(5)]
    folded = [
        block.startswith('<details class="block">')
        for block in confusion.sections(read_runs(directories), 10**6)
    ]
    assert folded == [False, True, True, True, True]
    assert '<details class="block">' not in "".join(
        confusion.sections(read_runs(directories[1:]), 1)
    )


def test_what_is_missing_is_said(tmp_path):
    assert "not finished" in section(write_run(tmp_path / "a", result=None))
    block = section(write_run(tmp_path / "b", config=None, result=None))
    assert "not known which split" in block
    # Without configuration the result says which split it is.
    known = section(write_run(tmp_path / "c", config=None, result=RESULT, classes=CLASSES))
    assert table_of(known)[1] == ["cat", "2", "1", "1"]
    broken = write_run(tmp_path / "d", classes=CLASSES)
    (broken / "confusion_validation.csv").write_text("true,cat\ncat,many\n")
    assert "is not the confusion matrix of a run" in section(broken)
    assert "No example" in section(write_run(tmp_path / "e", classes=np.zeros((0, 2), int)))


def test_names_stay_texts(tmp_path):
    names = ("<b>cat</b>", '"><img src=x>', "x" * 500)
    parsed = parse(section(write_run(tmp_path / "a", names=names, classes=CLASSES)))
    assert not {"b", "img"} & set(parsed.tags)
    assert names[0] in parsed.texts
    assert max(map(len, parsed.texts)) < 100
