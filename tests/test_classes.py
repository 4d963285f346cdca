"""Per-class results, against scikit-learn and by hand, from both forms of the confusion matrix."""

import csv
import json

import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support

from bot_jax import classes, workdir

NAMES = ("cat", "dog", "狐狸", "owl")
# Cats: 2 of 4 right, one a dog, one a fox. Dogs: 1 of 4, 2 cats, 1 fox. Owls are never seen.
EXAMPLES = np.array([[0, 0], [0, 0], [0, 2], [0, 1], [1, 1], [1, 0], [1, 0], [1, 2], [2, 2]])


def run_dir(path, name="validation"):
    (path / "config.json").write_text(json.dumps({"data": {"eval_split": name}}))
    workdir.write_class_names(path, NAMES)
    return path


def test_against_scikit_learn():
    rng = np.random.default_rng(0)
    true, predicted = rng.integers(0, 12, 500), rng.integers(0, 12, 500)
    predicted = np.where(rng.random(500) < 0.6, true, predicted)
    pairs, counts = np.unique(np.stack([true, predicted], -1), axis=0, return_counts=True)
    results = classes.class_results([str(i) for i in range(12)], pairs, counts)
    precision, recall, f1, support = precision_recall_fscore_support(true, predicted)
    np.testing.assert_allclose([r.recall for r in results], 100 * recall)
    np.testing.assert_allclose([r.precision for r in results], 100 * precision)
    np.testing.assert_allclose([r.f1 for r in results], 100 * f1)
    assert [r.examples for r in results] == support.tolist()
    for k, result in enumerate(results):
        wrong = np.bincount(predicted[(true == k) & (predicted != k)], minlength=12)
        assert (result.confused_with, result.confused) == (str(wrong.argmax()), wrong.max())


def test_file_by_hand(tmp_path):
    workdir.write_class_results(tmp_path, "a/b", NAMES, EXAMPLES)
    with (tmp_path / "classes_a_b.csv").open(newline="", encoding="utf-8") as stream:
        assert list(csv.reader(stream)) == [
            ["class", "examples", "recall", "precision", "F1", "most often confused with"],
            ["cat", "4", "50.00", "50.00", "50.00", "dog"],
            ["dog", "4", "25.00", "50.00", "33.33", "cat"],
            ["狐狸", "1", "100.00", "33.33", "50.00", ""],
            ["owl", "0", "", "", "", ""],
        ]


@pytest.mark.parametrize("matrix_classes", [2000, 2])
def test_table_from_both_forms(tmp_path, monkeypatch, capsys, matrix_classes):
    monkeypatch.setattr(workdir, "MATRIX_CLASSES", matrix_classes)
    workdir.write_confusion(run_dir(tmp_path), "validation", NAMES, EXAMPLES)
    first = (tmp_path / "confusion_validation.csv").read_text().splitlines()[0]
    assert first.startswith("true,predicted" if matrix_classes == 2 else "true \\")
    assert classes.main([str(tmp_path)]) == 0
    # A Chinese letter is two columns wide.
    assert capsys.readouterr().out.splitlines() == [
        "class  examples  recall  precision     F1  most often confused with",
        "dog           4   25.00      50.00  33.33  cat (2)",
        "cat           4   50.00      50.00  50.00  dog (1)",
        "狐狸          1  100.00      33.33  50.00",
        "owl           0",
    ]


def test_other_splits_and_wrong_input(tmp_path, capsys):
    run_dir(tmp_path)
    assert classes.main([str(tmp_path)]) == 2
    assert "no confusion matrix of the split 'validation'" in capsys.readouterr().err
    workdir.write_confusion(tmp_path, "tests", NAMES, EXAMPLES)
    assert classes.main([str(tmp_path), "--split", "tests"]) == 0
    assert classes.main([str(tmp_path), "--split", "test"]) == 2
    error = capsys.readouterr().err
    assert "Did you mean 'tests'? It has: tests." in error
    (tmp_path / "confusion_validation.csv").write_text("true \\ predicted,cat,dog\ncat,1\n")
    assert classes.main([str(tmp_path)]) == 2
    (tmp_path / "confusion_validation.csv").write_text("")
    assert classes.main([str(tmp_path)]) == 2
    assert classes.main([str(tmp_path / "nowhere")]) == 2
    assert capsys.readouterr().err.count("Error: ") == 3
