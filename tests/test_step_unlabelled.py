"""Images without a label (-2) in the training step: they count for the teacher only."""

from types import SimpleNamespace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from scipy.special import softmax

from bot_jax import parallel
from bot_jax import step as step_module
from bot_jax.batch import prepare_batch
from bot_jax.eval_step import make_eval_step, zero_totals
from bot_jax.metrics import zero_metrics
from bot_jax.optim.no_bias_decay import decay_mask
from bot_jax.optim.optimizer import make_optimizer
from bot_jax.state import create_state, initial_variables

BATCH, GROUP, CLASSES, RATE = 16, 4, 5, 0.1
LABELS = np.array([0, -2, 4, -2, -1, 2, -2, 1, 3, 3, -2, -2, -2, 0, -1, 4], np.int32)
COUNTS, LABELLED = LABELS != -1, LABELS >= 0
MEAN, STD = np.array([123.68, 116.779, 103.939]), np.array([58.393, 57.12, 57.375])


class Linear(nn.Module):
    """Logits that are a linear function of the mean colour."""

    @nn.compact
    def __call__(self, x, train):
        return nn.Dense(CLASSES, name="head")(x.mean((1, 2)))


@pytest.fixture
def config():
    from configs import default

    config = default.get_config()
    config.data.image_size = 2
    config.augment = ConfigDict()
    config.optimizer.weight_decay = 0.0
    config.optimizer.momentum = 0.0
    return config


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    return {
        "image": rng.integers(0, 256, (BATCH, 2, 2, 3), dtype=np.uint8),
        "label": LABELS.copy(),
        "sample_id": np.arange(BATCH, dtype=np.uint32),
    }


@pytest.fixture(scope="module")
def teacher():
    variables = initial_variables(Linear(), 2, seed=5)
    return SimpleNamespace(model=Linear(), variables=variables)


def first_step(config, batch, teacher=None, *, devices=1, accumulation=1):
    """The parameters before and after a step, and the metrics."""
    layout = parallel.make_layout(
        BATCH, group_size=GROUP, accumulation=accumulation, devices=jax.devices()[:devices]
    )
    setup = SimpleNamespace(
        model=Linear(),
        teacher=teacher,
        optimizer=make_optimizer(config.optimizer, decay_mask),
        schedule=lambda step: RATE,
        layout=layout,
        num_classes=CLASSES,
        steps_per_epoch=10,
        mixing_steps=10,
        class_weights=None,
    )
    state = create_state(config, setup.model, setup.optimizer, config.seed)
    before = jax.device_get(state.params)
    constants = (parallel.replicate(teacher.variables, layout),) if teacher else ()
    state, _ = step_module.make_train_step(config, setup)(
        parallel.replicate(state, layout), parallel.put_batch(batch, layout), *constants
    )
    return before, jax.device_get(state.params), jax.device_get(state.metrics)


def logits_of(params, features):
    head = jax.device_get(params["head"])
    return features @ head["kernel"].astype(np.float64) + head["bias"]


def updated(before, features, gradient_of_logits):
    """The parameters after a step of gradient descent, by NumPy."""
    head = before["head"]
    return {
        "head": {
            "kernel": head["kernel"] - RATE * features.T @ gradient_of_logits,
            "bias": head["bias"] - RATE * gradient_of_logits.sum(0),
        }
    }


def assert_same(a, b):
    for name in ("kernel", "bias"):
        np.testing.assert_allclose(a["head"][name], b["head"][name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("devices", "accumulation"), [(1, 1), (8, 1), (1, 4)])
def test_first_update_has_the_teachers_term_of_all_and_the_labels_of_some(
    config, batch, teacher, devices, accumulation
):
    config.distillation.temperature = 2.0
    config.distillation.hard_weight, config.distillation.soft_weight = 0.75, 0.5
    config.label_smoothing.epsilon = 0.1
    before, after, metrics = first_step(
        config, batch, teacher, devices=devices, accumulation=accumulation
    )
    features = ((batch["image"] - MEAN) / STD).mean((1, 2))
    z, r = logits_of(before, features), logits_of(teacher.variables["params"], features)
    targets = 0.9 * np.eye(CLASSES)[LABELS] + 0.1 / CLASSES
    hard = LABELLED[:, None] * (softmax(z, -1) - targets)
    soft = COUNTS[:, None] * 2 * (softmax(z / 2, -1) - softmax(r / 2, -1))
    assert_same(after, updated(before, features, (0.75 * hard + 0.5 * soft) / COUNTS.sum()))
    assert metrics["count"] == COUNTS.sum() == 14
    assert metrics["labelled"] == LABELLED.sum() == 8
    assert metrics["correct"] == (z.argmax(-1) == LABELS).sum()
    label_losses = -(targets * np.log(softmax(z, -1))).sum(-1)[LABELLED]
    soft_losses = -4 * (softmax(r / 2, -1) * np.log(softmax(z / 2, -1))).sum(-1)[COUNTS]
    np.testing.assert_allclose(metrics["label_loss"], label_losses.sum(), rtol=1e-5)
    np.testing.assert_allclose(
        metrics["loss"], 0.75 * label_losses.sum() + 0.5 * soft_losses.sum(), rtol=1e-5
    )


def test_the_loss_of_ssld_knows_no_labels(config, batch, teacher):
    config.distillation.form, config.distillation.temperature = "symmetric_kl", 1.0
    config.distillation.hard_weight = 0.0
    before, after, metrics = first_step(config, batch, teacher)
    features = ((batch["image"] - MEAN) / STD).mean((1, 2))
    p, q = (
        softmax(logits_of(params, features), -1) for params in (before, teacher.variables["params"])
    )
    divergence = (p * np.log(p / q)).sum(-1, keepdims=True)
    gradient = COUNTS[:, None] * (p - q + p * (np.log(p / q) - divergence)) / 2
    assert_same(after, updated(before, features, gradient / COUNTS.sum()))
    other = (q * np.log(q / p)).sum(-1)
    expected = (COUNTS * (divergence[:, 0] + other) / 2).sum()
    np.testing.assert_allclose(metrics["loss"], expected, rtol=1e-5)
    batch["label"] = np.where(COUNTS, -2, -1).astype(np.int32)
    _, unlabelled, metrics = first_step(config, batch, teacher)
    assert_same(after, unlabelled)
    assert metrics["labelled"] == metrics["correct"] == 0
    assert metrics["count"] == 14


def test_without_a_teacher_an_image_without_a_label_teaches_nothing(config, batch):
    _, without, metrics = first_step(config, batch)
    batch["label"] = np.where(LABELLED, LABELS, -1).astype(np.int32)
    _, expected, expected_metrics = first_step(config, batch)
    assert_same(without, expected)
    assert metrics["count"] == expected_metrics["count"] == LABELLED.sum()
    np.testing.assert_array_equal(metrics["loss"], expected_metrics["loss"])


def test_mixed_images_count_as_their_parts_do(config, batch, teacher, monkeypatch):
    # Beta(1, 1) is uniform; its sampler takes many times as long to compile as all the rest.
    monkeypatch.setattr(
        jax.random, "beta", lambda key, a, b, shape=(), **kw: jax.random.uniform(key, shape)
    )
    config.distillation.temperature = 1.0
    config.augment.mixup = {"alpha": 1.0}
    before, after, metrics = first_step(config, batch, teacher)

    layout = parallel.make_layout(BATCH, group_size=GROUP, devices=jax.devices()[:1])
    setup = SimpleNamespace(layout=layout, num_classes=CLASSES, steps_per_epoch=10, mixing_steps=10)
    spec = jax.sharding.PartitionSpec(parallel.AXES)
    prepare = jax.shard_map(
        lambda batch: prepare_batch(config, setup, batch),
        mesh=layout.mesh,
        in_specs=spec,
        out_specs=spec,
    )
    # What is mixed with what, and how, is read off labels: one for each image of a group.
    probe = {**batch, "label": np.arange(BATCH, dtype=np.int32) % GROUP}
    _, weights, _, whole = jax.device_get(jax.jit(prepare)(jax.tree.map(jnp.asarray, probe)))
    np.testing.assert_allclose(whole, 1, rtol=1e-6)
    mixing = np.zeros((BATCH, BATCH))
    for i in range(BATCH):
        first = i // GROUP * GROUP
        mixing[i, first : first + GROUP] = weights[i, :GROUP]
    assert (np.count_nonzero(mixing, axis=1) == 2).all()

    features = mixing @ ((batch["image"] - MEAN) / STD).mean((1, 2))
    targets = mixing @ (LABELLED[:, None] * np.eye(CLASSES)[LABELS])
    present = mixing @ COUNTS
    assert ((present > 0.01) & (present < 0.99)).any()
    p, q = (
        softmax(logits_of(params, features), -1) for params in (before, teacher.variables["params"])
    )
    hard = targets.sum(-1, keepdims=True) * p - targets
    gradient = hard + present[:, None] * (p - q)
    assert_same(after, updated(before, features, gradient / COUNTS.sum()))
    credit = targets[np.arange(BATCH), p.argmax(-1)].sum()
    np.testing.assert_allclose(metrics["correct"], credit, rtol=1e-5)
    assert (metrics["count"], metrics["labelled"]) == (14, 8)


def test_an_evaluation_counts_labelled_images_only(batch):
    layout = parallel.evaluation_layout(BATCH)
    evaluate = make_eval_step(Linear(), layout)
    variables = initial_variables(Linear(), 2, seed=5)
    images = {name: batch[name] for name in ("image", "label")}
    totals, classes = evaluate(
        parallel.replicate(zero_totals(), layout),
        parallel.put_batch(images, layout),
        parallel.replicate(variables, layout),
    )
    z = logits_of(variables["params"], ((batch["image"] - MEAN) / STD).mean((1, 2)))
    assert totals["count"] == totals["top5"] == LABELLED.sum()
    assert totals["top1"] == (z.argmax(-1) == LABELS).sum()
    losses = -np.log(softmax(z, -1))[np.arange(BATCH), LABELS][LABELLED]
    np.testing.assert_allclose(totals["loss"], losses.sum(), rtol=1e-5)
    np.testing.assert_array_equal(classes["label"], LABELS)


def test_what_a_run_writes_is_a_mean_over_those_that_it_is_of(config):
    from bot_jax import training_loop

    metrics = zero_metrics() | {
        "loss": np.float32(70),
        "label_loss": np.float32(16),
        "correct": np.float32(4),
        "count": np.float32(14),
        "labelled": np.float32(8),
        "steps": np.int32(1),
    }
    written = []
    run = SimpleNamespace(
        unread=(1, metrics),
        config=config,
        setup=SimpleNamespace(total_steps=10),
        writer=SimpleNamespace(write=lambda *args: written.append(args)),
        stopwatch=SimpleNamespace(window=lambda step: (1.0, 0.0)),
        progress=SimpleNamespace(news=lambda text: None),
        _check=lambda step, metrics: None,
        _epoch=lambda step: step / 10,
    )
    training_loop.TrainingLoop._write_metrics(run)
    scalars = written[0][-1]
    assert (scalars["loss"], scalars["label_loss"], scalars["top1"]) == (5.0, 2.0, 50.0)
