"""Class balance: counts over epochs, weights, and the first update of a weighted step."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from data_helpers import data_config, encode, smooth_image

from bot_jax import parallel
from bot_jax import step as step_module
from bot_jax.data import folder
from bot_jax.data.balance import balance_classes, class_weights, describe_balance
from bot_jax.data.pipeline import train_batches
from bot_jax.errors import InputError
from bot_jax.models.registry import get_model
from bot_jax.setup import make_setup
from bot_jax.state import create_state

SIZES = {"a": 2, "b": 5, "c": 4}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Three classes of different size; each file is an image of its own."""
    root = tmp_path_factory.mktemp("images")
    for k, (name, size) in enumerate(SIZES.items()):
        for split, number in (("train", size), ("validation", 1)):
            (root / split / name).mkdir(parents=True)
            for i in range(number):
                encoded = encode(smooth_image(16, 16, 10 * k + i), "PNG")
                (root / split / name / f"{i}.png").write_bytes(encoded)
    return root


def source_of(root):
    return folder.make(data_config(path=str(root)), "train")


def batches(source, config, start, number, size=5):
    made = train_batches(
        source, config, seed=3, batch_size=size, rows=np.arange(size), start_step=start
    )
    return [next(made) for _ in range(number)]


def test_every_class_occurs_as_often_as_the_largest_one(images):
    source = balance_classes(source_of(images), "resample").source
    assert source.num_examples == 3 * 5
    seen = batches(source, data_config(path=str(images)), 0, 6)  # two epochs of three batches
    for epoch in (seen[:3], seen[3:]):
        assert np.bincount(np.concatenate([b["label"] for b in epoch])).tolist() == [5, 5, 5]
        files = [source.describe(i) for b in epoch for i in b["index"]]
        # Two images five times: three times and twice. Four images five times: one of them twice.
        times = {
            name: sorted(files.count(f) for f in set(files) if f"/{name}/" in f) for name in SIZES
        }
        assert times == {"a": [2, 3], "b": [1] * 5, "c": [1, 1, 1, 2]}
    first, second = (np.concatenate([b["index"] for b in epoch]) for epoch in (seen[:3], seen[3:]))
    assert (first != second).any()
    assert sorted(first) == list(range(15))


def test_a_resampled_run_goes_on_where_it_stopped(images):
    source = balance_classes(source_of(images), "resample").source
    config = data_config(path=str(images))
    whole, rest = batches(source, config, 0, 6), batches(source, config, 4, 2)
    for expected, batch in zip(whole[4:], rest, strict=True):
        for name in ("index", "label", "sample_id", "image"):
            np.testing.assert_array_equal(batch[name], expected[name])


def test_labels_are_those_that_are_read(images):
    source = balance_classes(source_of(images), "resample").source
    read = [int(source.read(np.int64(i))[1]) for i in range(source.num_examples)]
    assert source.labels.tolist() == read == [0] * 5 + [1] * 5 + [2] * 5
    by_name = [source.class_names.index(source.describe(i).split("/")[-2]) for i in range(15)]
    assert by_name == read


def test_weights_by_hand(images):
    balance = balance_classes(source_of(images), "weights")
    assert balance.source.num_examples == 11
    # 11 / (3 * 2), 11 / (3 * 5), 11 / (3 * 4)
    np.testing.assert_allclose(balance.weights, [1.8333333, 0.7333333, 0.9166667], rtol=1e-6)
    assert balance.weights[balance.source.labels].mean() == pytest.approx(1)


def test_nothing_is_the_default(images):
    source = source_of(images)
    balance = balance_classes(source, "none")
    assert balance.source is source
    assert balance.weights is None
    assert balance.counts.tolist() == [2, 5, 4]


def test_what_the_table_says(images):
    def facts(balance):
        config = SimpleNamespace(data=SimpleNamespace(balance=balance, unlabelled=""))
        return dict(describe_balance(config, balance_classes(source_of(images), balance)))

    assert facts("none") == {"examples a class": "2 (a) to 5 (b)"}
    assert facts("weights")["class weights"] == "0.7333 to 1.833"
    assert facts("resample")["resampled"] == "every class 5 times an epoch"
    assert facts("resample")["examples a class"] == "2 (a) to 5 (b)"


def test_what_cannot_be_balanced(images, tmp_path):
    import dataclasses

    source = source_of(images)
    with pytest.raises(InputError, match=r"config.data.balance = 'weight'.*'weights'"):
        balance_classes(source, "weight")
    without_labels = dataclasses.replace(source, labels=None)
    with pytest.raises(InputError, match="'resample' needs to know the class of every example"):
        balance_classes(without_labels, "resample")
    assert balance_classes(without_labels, "none").counts is None
    # Where nothing runs, a step is compiled all the same.
    assert balance_classes(without_labels, "weights", trained=False).weights.tolist() == [1, 1, 1]
    one_more = dataclasses.replace(source, class_names=("a", "b", "c", "d"))
    for balance in ("weights", "resample"):
        with pytest.raises(InputError, match=r"has no examples of d. Add some, or remove"):
            balance_classes(one_more, balance)


def test_a_run_is_made_of_what_is_balanced(make_tiny_config, images):
    config = make_tiny_config()
    config.data.source, config.data.path, config.batch_size = "folder", str(images), 8
    config.batch_norm.group_size = 0
    config.data.balance = "resample"
    setup = make_setup(config, devices=jax.devices()[:1])
    assert (setup.steps_per_epoch, setup.class_weights) == (15 // 8, None)
    config.data.balance = "weights"
    setup = make_setup(config, devices=jax.devices()[:1])
    assert setup.steps_per_epoch == 11 // 8
    np.testing.assert_allclose(setup.class_weights, class_weights(np.array([2, 5, 4])))


@pytest.mark.parametrize("mixes", [False, True])
def test_the_first_update_of_a_weighted_step(make_tiny_config, mixes):
    config = make_tiny_config()
    config.augment = {}
    if mixes:
        config.augment.mixup = {"pairs": "reverse"}
    rng = np.random.default_rng(0)
    weights = np.array([0.25, 3.0, 0.5], np.float32)
    layout = parallel.make_layout(8, devices=jax.devices()[:2])
    model = get_model("tiny", num_classes=3, batch_norm=False)
    optimizer = optax.sgd(1.0)
    setup = SimpleNamespace(
        model=model,
        teacher=None,
        optimizer=optimizer,
        schedule=lambda step: jnp.float32(1.0),
        layout=layout,
        num_classes=3,
        steps_per_epoch=10,
        mixing_steps=100,
        class_weights=weights,
    )
    batch = {
        "image": rng.integers(0, 256, (8, 8, 8, 3), dtype=np.uint8),
        "label": np.array([0, 1, 2, 1, -1, 1, 0, 1], np.int32),
        "sample_id": np.arange(8, dtype=np.uint32),
    }
    state = jax.jit(lambda: create_state(config, model, optimizer, 0))()
    before = jax.device_get(state.params)
    after, _ = step_module.make_train_step(config, setup)(
        parallel.replicate(state, layout), parallel.put_batch(batch, layout)
    )

    mean, std = np.array([123.68, 116.779, 103.939]), np.array([58.393, 57.12, 57.375])
    images = (batch["image"] - mean) / std
    epsilon = config.label_smoothing.epsilon
    one_hot = np.eye(3)[batch["label"]] * (batch["label"] >= 0)[:, None]
    targets = (1 - epsilon) * one_hot + epsilon / 3 * (batch["label"] >= 0)[:, None]
    if mixes:
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(config.seed), 6), 0)
        lam = float(jax.random.beta(key, 0.2, 0.2))
        images, targets, one_hot = (
            lam * x + (1 - lam) * x[::-1] for x in (images, targets, one_hot)
        )
    example_weights = one_hot @ weights

    def loss(params):
        logits = model.apply({"params": params}, jnp.asarray(images, jnp.float32), train=False)
        each = -jnp.sum(targets * jax.nn.log_softmax(logits), axis=-1)
        return jnp.sum(example_weights * each) / 7  # one of the eight does not count

    expected, gradients = jax.value_and_grad(loss)(before)
    for name in ("kernel", "bias"):
        np.testing.assert_allclose(
            before["head"][name] - np.asarray(after.params["head"][name]),
            gradients["head"][name],
            rtol=1e-4,
            atol=1e-6,
        )
    metrics = jax.device_get(after.metrics)
    assert metrics["loss"] / metrics["count"] == pytest.approx(float(expected), rel=1e-5)
    assert metrics["label_loss"] == metrics["loss"]
