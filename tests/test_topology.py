import json

import numpy as np
import pytest

from bot_jax import topology

# Small enough to compile in seconds, with random crops, colours, mixup and groups over devices.
SMALL = [
    "--config.model.name=resnet14_d",
    "--config.model.options.width=4",
    "--config.data.image_size=16",
    "--config.data.eval_resize=16",
]


def seen(losses, ids=((0, 1),), images=(7,)):
    return {"losses": np.array(losses), "ids": np.array(ids), "images": np.array(images)}


def test_what_is_compared():
    one = topology.compare(seen([2.0] * 12), seen([2.0] * 12))
    assert one == {"ids": True, "images": True, "loss": 0, "loss_early": 0, "loss_first": 0}
    losses = [2.0, 2.0, 2.2, *[2.0] * 8, 3.0]
    other = topology.compare(seen(losses, images=(8,)), seen([2.0] * 12))
    assert (other["ids"], other["images"], other["loss_first"]) == (True, False, 0)
    assert other["loss_early"] == pytest.approx(0.1)
    assert other["loss"] == pytest.approx(0.5)


def row(where="2 of one process", off=0.0, **more):
    losses = {"loss_first": off, "loss_early": off, "loss": off}
    if "evaluation" in more:
        losses["loss_of_evaluation"] = 1e-7
    return {"where": where, "ids": True, "images": True} | losses | more


def test_evaluations_are_equal_where_their_counts_are():
    one = {"top1": 50.0, "top5": 90.0, "num_examples": 4, "classes": 7, "loss": 2.0}
    same = topology.compare_evaluations(one | {"loss": 2.0002}, one)
    assert same == {"evaluation": True, "loss_of_evaluation": pytest.approx(1e-4)}
    assert not topology.compare_evaluations(one | {"classes": 8}, one)["evaluation"]


def test_when_the_promise_is_kept():
    control = row(topology.CONTROL, 0.01)

    def is_kept(*rows):
        return topology.is_kept({"topology": [control, *rows], "elastic": []}, 1e-5)

    assert is_kept(row(off=0.02, evaluation=True))
    assert not is_kept(row(off=0.04))
    assert not is_kept(row(ids=False))
    assert not is_kept(row(images=False))
    assert not is_kept(row(evaluation=False))
    assert not is_kept(row(evaluation=True, loss_of_evaluation=1e-4))
    text = topology.table({"topology": [control, row(images=False)], "elastic": []})
    assert "| 2 of one process | equal | DIFFERENT | 0e+00 |" in text


@pytest.mark.slow
def test_the_same_run_on_one_and_more_devices_and_on_two_processes(tmp_path, capsys):
    arguments = ["--workdir", str(tmp_path), "--steps", "10", *SMALL]
    assert topology.main(arguments) == 0, capsys.readouterr().out
    text = (tmp_path / "topology.md").read_text()
    rows = json.loads((tmp_path / "topology.json").read_text())
    assert all(row["loss"] < 1e-5 for row in [*rows["topology"], *rows["elastic"]])
    # The control, four counts and two processes; three elastic pairs there and back.
    assert text.count("equal") == 2 * (1 + 5 + 6) + 5
    assert "2 processes x 2" in text


@pytest.mark.slow
def test_in_float64_losses_drift_from_the_sixteenth_digit(tmp_path, capsys):
    arguments = ["--workdir", str(tmp_path), "--steps", "10", "--devices", "1", "8", *SMALL]
    precise = ["--config.precision.compute=float64", "--tolerance=1e-6"]
    assert topology.main([*arguments, *precise]) == 0, capsys.readouterr().out
    rows = json.loads((tmp_path / "topology.json").read_text())
    assert all(row["loss"] < 1e-6 for row in [*rows["topology"], *rows["elastic"]])


def test_a_workdir_that_was_used_is_refused(tmp_path, capsys):
    (tmp_path / "end").mkdir()
    assert topology.main(["--workdir", str(tmp_path)]) == 2
    assert "was used before" in capsys.readouterr().err
