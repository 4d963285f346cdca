"""Runs that start with the weights of another one, and weights that do not fit."""

import dataclasses
import json
import os
import shutil
import signal
from types import SimpleNamespace

import jax
import numpy as np
import pytest
import torch_files

from bot_jax import export, parallel, train, training_loop
from bot_jax.checkpoint import Checkpoints
from bot_jax.config import load_config
from bot_jax.describe import describe_run
from bot_jax.errors import InputError
from bot_jax.interop.arrays import write_arrays
from bot_jax.interop.translate import to_theirs
from bot_jax.interrupt import Interrupted
from bot_jax.models.registry import get_model
from bot_jax.pretrained import load_pretrained, select
from bot_jax.setup import make_setup
from bot_jax.state import variable_shapes

CLASSES = tuple(map(str, range(10)))


@pytest.fixture(autouse=True, scope="module")
def one_device():
    make, one = parallel.make_layout, {"devices": jax.devices()[:1]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parallel, "make_layout", lambda *a, **kw: make(*a, **kw | one))
        yield


def without_augmentations(config):
    """It compiles faster."""
    for name in list(config.augment):
        del config.augment[name]
    return config


@pytest.fixture(scope="module")
def trained(one_device, make_tiny_config, tmp_path_factory):
    """The directory of a run of averaged weights, a file of them, and the run with other classes.

    "renamed" is the same run, of as many classes with other names.
    """
    directory = tmp_path_factory.mktemp("pretrained")
    config = without_augmentations(make_tiny_config())
    config.ema_decay = 0.9
    train.train(config, directory / "run")
    export.write_weights(directory / "file.safetensors", export.run_weights(directory / "run"))
    shutil.copytree(directory / "run", directory / "renamed")
    (directory / "renamed/classes.json").write_text(json.dumps(["zero", *CLASSES[1:]]))
    return directory


@pytest.fixture(scope="module")
def weights(trained):
    return export.run_weights(trained / "run")


def saved(config, directory):
    setup = make_setup(config)
    with Checkpoints(directory / "checkpoints", read_only=True) as checkpoints:
        return jax.device_get(checkpoints.restore(setup.state_shapes, setup.layout))


def assert_equal(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_without_a_name_nothing_is_loaded(tiny_config):
    assert load_pretrained(tiny_config, setup=None) is None


def test_the_same_classes_keep_the_classifier_and_all_starts_from_the_weights(
    tiny_config, trained, weights
):
    """A file is as good as its run; the moving average starts with what was loaded."""
    tiny_config.pretrained = str(trained / "file.safetensors")
    tiny_config.ema_decay = 0.99
    setup = make_setup(tiny_config)
    pretrained = load_pretrained(tiny_config, setup)
    state = jax.device_get(setup.initial_state(pretrained.variables))
    assert_equal({"params": state.params, "batch_stats": state.batch_stats}, weights.variables)
    assert_equal(state.ema, weights.variables)
    assert state.step == 0
    report = pretrained.report
    assert (report["model"], report["step"], report["loaded"]) == ("tiny", 22, 7)
    assert (report["new"], report["unused"], report["classifier"]) == ([], [], "kept")
    assert report["why"] == "the same 10 classes"
    assert report["checksum"] == export.checksum(weights.variables)


def stop_at(monkeypatch, step):
    """Sends a signal while `step` runs."""
    make = training_loop.make_train_step

    def make_step(*arguments):
        train_step = make(*arguments)
        calls = iter(range(1, 1000))

        def counting(*arguments):
            if next(calls) == step:
                os.kill(os.getpid(), signal.SIGTERM)
            return train_step(*arguments)

        counting.lower = train_step.lower
        return counting

    monkeypatch.setattr(training_loop, "make_train_step", make_step)


def test_a_run_from_a_run_goes_on_without_it(
    tiny_config, trained, weights, tmp_path, monkeypatch, capsys
):
    """All but the classifier is frozen, so that the last checkpoint has what was loaded."""
    source = tmp_path / "source"
    shutil.copytree(trained / "renamed", source)
    without_augmentations(tiny_config).pretrained = str(source)
    tiny_config.freeze.parameters = "(?!head/)"
    directory = tmp_path / "tuned"
    with monkeypatch.context() as patch:
        stop_at(patch, 3)
        with pytest.raises(Interrupted):
            train.train(tiny_config, directory)
    printed = capsys.readouterr().out
    assert "arrays new     2: params/head/bias, params/head/kernel" in printed
    assert "classifier     replaced: other classes: number 0 is 'zero' there" in printed
    shutil.rmtree(source)
    assert train.train(tiny_config, directory)["step"] == 22
    assert "Pretrained weights" not in capsys.readouterr().out
    state = saved(tiny_config, directory)
    for name in ("conv", "bn"):
        assert_equal(state.params[name], weights.variables["params"][name])
    assert_equal(state.batch_stats, weights.variables["batch_stats"])
    drawn = make_setup(tiny_config).initial_state().params["head"]["kernel"]
    learnt = state.params["head"]["kernel"]
    assert 0 < np.abs(learnt - drawn).max() < np.abs(learnt).max()
    report = json.loads((directory / "pretrained.json").read_text())
    assert report["pretrained"] == str(source)
    assert report["new"] == report["unused"] == ["params/head/bias", "params/head/kernel"]

    # It may be elsewhere by now.
    tiny_config.pretrained = "nowhere"
    assert train.train(tiny_config, directory)["step"] == 22


def shapes_of(variables):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, np.float32), variables)


def selected(weights, config, **changes):
    """What is loaded of changed weights for a model with the arrays of the original ones."""
    changed = dataclasses.replace(weights, **changes)
    return select(changed, shapes_of(weights.variables), config, CLASSES)


@pytest.mark.parametrize(
    ("class_names", "why"),
    [
        (CLASSES[:9], "9 classes there, 10 here"),
        (CLASSES[::-1], "the same 10 classes, in another order"),
        ((), "the file does not name its classes; `bot_jax.convert --classes` makes one"),
        ((*CLASSES[:9], "a"), "other classes: number 9 is 'a' there and '9' here"),
    ],
)
def test_the_classifier_of_other_classes_is_replaced(tiny_config, weights, class_names, why):
    variables, report = selected(weights, tiny_config, class_names=class_names)
    assert variables["params"].keys() == {"conv", "bn"}
    assert variables["batch_stats"].keys() == {"bn"}
    assert (report["classifier"], report["why"]) == ("replaced", why)
    assert report["new"] == ["params/head/bias", "params/head/kernel"]


def with_arrays(weights, **modules):
    params = weights.variables["params"] | modules
    params = {name: module for name, module in params.items() if module is not None}
    return {"variables": weights.variables | {"params": params}}


AUXILIARY = {"head": {"kernel": np.ones((4, 10), np.float32)}}


@pytest.mark.parametrize("class_names", [CLASSES, CLASSES[:9]])
def test_an_auxiliary_head_may_be_missing_on_either_side(tiny_config, weights, class_names):
    tiny_config.pretrained = "file"
    other = dataclasses.replace(weights, class_names=class_names)
    both = with_arrays(weights, auxiliary_head=AUXILIARY)["variables"]
    name = "params/auxiliary_head/head/kernel"
    # Only there: not wanted. Only here: new.
    _, report = selected(other, tiny_config, **with_arrays(other, auxiliary_head=AUXILIARY))
    assert name in report["unused"]
    _, report = select(other, shapes_of(both), tiny_config, CLASSES)
    assert name in report["new"]
    # On both sides it goes with the classifier.
    variables, _ = select(
        dataclasses.replace(other, variables=both), shapes_of(both), tiny_config, CLASSES
    )
    assert ("auxiliary_head" in variables["params"]) == (class_names == CLASSES)


def test_a_wide_layer_may_be_missing_on_either_side(tiny_config, weights):
    """The classifier starts anew then, though the classes are the same."""
    tiny_config.pretrained = "file"
    wide = {"wide": {"kernel": np.ones((8, 20), np.float32)}}
    head = {"head": {"kernel": np.ones((20, 10), np.float32), "bias": np.ones(10, np.float32)}}
    widened = with_arrays(weights, **wide, **head)["variables"]
    _, there = selected(weights, tiny_config, variables=widened)
    _, here = select(weights, shapes_of(widened), tiny_config, CLASSES)
    for report in (there, here):
        assert report["classifier"] == "replaced"
        assert report["why"] == "a wide layer before it on one side alone"
    assert "params/wide/kernel" in there["unused"]
    assert "params/wide/kernel" in here["new"]
    # On both sides it is kept, and with the same classes the classifier.
    both = dataclasses.replace(weights, variables=widened)
    variables, report = select(both, shapes_of(widened), tiny_config, CLASSES)
    assert report["classifier"] == "kept"
    assert_equal(variables["params"]["wide"], wide["wide"])
    _, report = select(both, shapes_of(widened), tiny_config, CLASSES[::-1])
    assert report["new"] == ["params/head/bias", "params/head/kernel"]


@pytest.mark.parametrize(
    ("modules", "words"),
    [
        ({"conv": None}, r"params/conv/kernel: missing in the weights, \(3, 3, 3, 8\) in this run"),
        ({"more": {"kernel": np.ones(3)}}, r"params/more/kernel: \(3,\) in the weights, not there"),
        ({"conv": {"kernel": np.ones((3, 3, 3, 4))}}, r"\(3, 3, 3, 4\) in the weights, \(3, 3, 3,"),
    ],
)
def test_arrays_that_differ_are_refused_with_a_list(tiny_config, weights, modules, words):
    tiny_config.pretrained = "some/run"
    changes = with_arrays(weights, **modules) | {"options": {"width": 4}}
    with pytest.raises(InputError, match=words) as caught:
        selected(weights, tiny_config, **changes)
    assert "some/run is a tiny with {'width': 4}, and this run trains a tiny." in str(caught.value)


def test_another_model_is_refused_unless_all_of_it_fits(tiny_config, weights):
    variables, report = selected(weights, tiny_config, model="slim", options={"stride": 1})
    assert_equal(variables, weights.variables)
    assert report["other_options"] == ", {'stride': 1}; here tiny, whose arrays are the same"
    with pytest.raises(InputError, match="is a slim, and this run trains a tiny") as caught:
        selected(weights, tiny_config, model="slim", **with_arrays(weights, bn=None))
    assert "Choose config.model.name" in str(caught.value)


def test_half_precision_becomes_float32(tiny_config, weights):
    half = jax.tree.map(lambda x: x.astype(np.float16), weights.variables)
    variables, _ = selected(weights, tiny_config, variables=half)
    assert {x.dtype for x in jax.tree.leaves(variables)} == {np.dtype(np.float32)}


FOREIGN = [
    ("resnet20_cifar", "pytorch_resnet_cifar10", "a.pth"),
    ("resnet18_d", "timm", "a.safetensors"),
    ("resnet18_b", "torchvision", "a.bin"),
    ("mobilenet_025", "gluoncv", "a.npz"),
    ("resnet14_d", "paddleclas", "a.npz"),
    ("inception_v3", "torchvision", "a.pt"),
]


def foreign_file(file, arrays):
    if file.suffix in (".npz", ".safetensors"):
        write_arrays(file, arrays)
    else:
        torch_files.save(file, {name: torch_files.dense(array) for name, array in arrays.items()})


@pytest.mark.parametrize(("model", "framework", "name"), FOREIGN)
def test_weights_of_another_framework_in_one_line(tiny_config, tmp_path, model, framework, name):
    """Without `convert`, from every kind of file; 1000 classes there and ten here."""
    made = get_model(model, num_classes=1000)
    shapes = variable_shapes(made, 299 if model == "inception_v3" else 64)
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), shapes)
    file = tmp_path / name
    foreign_file(file, to_theirs(variables, model, framework))
    tiny_config.model.name, tiny_config.pretrained = model, str(file)
    tiny_config.data.image_size, tiny_config.data.eval_resize = 75, 0  # for Inception-V3
    pretrained = load_pretrained(tiny_config, make_setup(tiny_config, trained=False))
    del variables["params"]["head"]
    assert_equal(pretrained.variables, variables)
    facts = dict(pretrained.describe())
    assert facts["classifier"].startswith("replaced: the file does not name its classes")
    assert facts["arrays new"] == "2: params/head/bias, params/head/kernel"


def test_weights_of_another_framework_that_do_not_fit(tiny_config, tmp_path):
    made = get_model("resnet18_b", num_classes=10)
    variables = jax.tree.map(lambda x: np.zeros(x.shape, np.float32), variable_shapes(made, 64))
    arrays = to_theirs(variables, "resnet18_b", "torchvision")
    arrays["extra.weight"] = arrays.pop("layer4.1.conv2.weight")
    foreign_file(tmp_path / "a.pth", arrays)
    tiny_config.model.name, tiny_config.pretrained = "resnet18_b", str(tmp_path / "a.pth")
    with pytest.raises(InputError, match=r"(?s)missing:\n  layer4.1.conv2.*unexpected:\n  extra"):
        load_pretrained(tiny_config, make_setup(tiny_config, trained=False))
    tiny_config.model.name = "tiny"
    with pytest.raises(InputError, match="No other framework has the arrays of tiny"):
        load_pretrained(tiny_config, make_setup(tiny_config, trained=False))


def test_what_is_not_there_is_refused_before_anything_is_written(tiny_config, tmp_path):
    tiny_config.pretrained = str(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"config.pretrained = .*nowhere: there is no such run"):
        train.train(tiny_config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_set_up_needs_no_weights_and_advises_a_rate(tiny_config):
    tiny_config.pretrained = "nowhere"
    facts = dict(describe_run(tiny_config, make_setup(tiny_config, trained=False)))
    # 0.001 * sqrt(1.437) * 64 / 256
    assert facts["advised rate"] == "0.0003 for pretrained weights and 1,437 images; in use 0.025"
    assert "config.optimizer.base_learning_rate: 83.4 times the advice" in facts["WARNING"]
    # A classifier alone cannot spoil what was loaded.
    tiny_config.freeze.parameters = "conv|bn"
    facts = dict(describe_run(tiny_config, make_setup(tiny_config, trained=False)))
    assert facts.keys().isdisjoint({"advised rate", "WARNING"})
    assert facts["weight decay"] == "0.0001 on every kernel; none on every bias, scale"


@pytest.mark.parametrize("row", ["all", "layer_rates", "frozen"])
def test_the_rows_of_the_recipe(row):
    """Their rate is no cause for a warning with a thousand photographs or a hundred thousand."""
    config = load_config(f"configs/finetune.py:{row}")
    assert config.pretrained == "runs/photos"
    for images in (1_000, 100_000):
        source = SimpleNamespace(name="", num_examples=images, class_names=CLASSES, labels=None)
        setup = make_setup(config, sources=(source, source), trained=False)
        facts = dict(describe_run(config, setup))
        assert "WARNING" not in facts
        assert ("frozen" in facts) == (row == "frozen")
        assert ("layer rates" in facts) == (row == "layer_rates")
