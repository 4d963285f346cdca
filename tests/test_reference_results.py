import csv
import hashlib
import re

import pytest

from bot_jax.reference_results import (
    FILE,
    find,
    gluoncv_result,
    paper_result,
    published_results,
)

COLUMNS = "framework model recipe epochs top1 top5 params_m img_size crop_pct source verified note"


def test_every_line_is_read():
    with FILE.open(encoding="utf-8", newline="") as lines:
        header, *rows = csv.reader(lines)
    assert header == COLUMNS.split()
    assert len(rows) == len(published_results()) == 431
    assert {len(row) for row in rows} == {len(header)}
    for line in published_results():
        for accuracy in (line.top1, line.top5):
            assert accuracy is None or 50 < accuracy < 100


def test_no_number_has_changed():
    """What was trained, and what came of it; source, verified and note are words."""
    with FILE.open(encoding="utf-8", newline="") as lines:
        rows = ["\t".join(row[:9]) for row in csv.reader(lines)]
    digest = hashlib.sha256("\n".join(rows).encode()).hexdigest()
    assert digest == "877ed24f62d96d90020a6878d2579b17a6b2d10864eb504e21064d97db05ba21"


def test_results_are_found():
    assert paper_result("T1", "ResNet-50+all tricks", "4.3 GFLOPs").top1 == 79.29
    assert paper_result("T1", "ResNeXt-50", "").top5 is None
    assert gluoncv_result("ResNet50_v1d", "200").top1 == 79.15
    assert gluoncv_result("ResNet152_v1c").top5 == 94.96


def test_spread_of_several_runs():
    several = paper_result("T6 CVPR", "ResNet-50-D", "+cosine")
    assert (several.top1, several.top5, several.spread) == (77.73, 93.82, (0.13, 0.08))
    assert paper_result("T6", "ResNet-50-D", "+cosine").spread is None
    with_spread = [line for line in published_results() if line.spread]
    assert len(with_spread) == 6
    for line in with_spread:  # the note repeats the means
        assert f"{line.top1:.2f}±" in line.note
        assert f"{line.top5:.2f}±" in line.note


def test_none_and_several_are_not_taken_for_one():
    with pytest.raises(LookupError, match="0 lines"):
        find(model="ResNet-50-E")
    with pytest.raises(LookupError, match="2 lines"):
        find(framework="GluonCV", model="ResNet50_v1d")


def test_the_file_names_no_machine():
    text = FILE.read_text(encoding="utf-8")
    assert not re.search(r"https?:|localhost|(^|[\s,;])/\w|\d+\.\d+\.\d+\.\d+", text)
