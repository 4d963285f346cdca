"""The training step with a teacher."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from step_helpers import (
    BATCH,
    assert_same,
    batch_of,
    first_update,
    make_teacher,
    parts,
    plain,
    prepared,
    run,
)

from bot_jax import parallel
from bot_jax import step as step_module
from bot_jax.hlo import read_kernels
from bot_jax.models.registry import get_model
from bot_jax.state import create_state


@pytest.mark.parametrize("devices", [1, 8])
def test_first_update_with_a_teacher_is_that_of_the_papers_loss(tiny_config, devices):
    """Equation 6, from the teacher's logits for the mixed images at its running statistics."""
    config = plain(tiny_config)
    config.augment.mixup = {"alpha": 1.0}
    config.label_smoothing.epsilon = 0.1
    config.distillation.temperature = 5.0
    config.distillation.hard_weight, config.distillation.soft_weight = 0.75, 0.5
    teacher = make_teacher(get_model("tiny", num_classes=10))
    batch = batch_of(np.random.default_rng(3))
    options = {"steps": 1, "batches": [batch], "batch_norm": False}
    after = run(config, devices=devices, teacher=teacher, **options)

    images, targets, *_ = prepared(config, batch)
    r = np.asarray(teacher.model.apply(teacher.variables, images, train=False), np.float64)
    soft = np.exp(r / 5) / np.exp(r / 5).sum(-1, keepdims=True)
    model = get_model("tiny", num_classes=10, batch_norm=False)

    def loss(params, hard_weight=0.75, soft_weight=0.5):
        z = model.apply({"params": params}, images, train=True)
        hard = -jnp.sum(targets * jax.nn.log_softmax(z)) / BATCH
        return (
            hard_weight * hard
            - soft_weight * 25 * jnp.sum(soft * jax.nn.log_softmax(z / 5)) / BATCH
        )

    expected, value = first_update(config, model, loss)
    assert_same(expected, after.params)
    np.testing.assert_allclose(after.metrics["loss"] / BATCH, value, rtol=1e-5)
    _, hard = first_update(config, model, lambda params: loss(params, 1.0, 0.0))
    np.testing.assert_allclose(after.metrics["label_loss"] / BATCH, hard, rtol=1e-5)


def test_the_teacher_stays_as_it_is(tiny_config, monkeypatch):
    """Neither its parameters nor its statistics move, to the bit, while those of the student do."""
    teacher = make_teacher(get_model("tiny", num_classes=10))
    before = jax.tree.map(np.array, teacher.variables)
    replicate, on_device = parallel.replicate, []

    def watched(tree, layout):
        found = replicate(tree, layout)
        on_device.append((tree, found))
        return found

    monkeypatch.setattr(parallel, "replicate", watched)
    first = run(tiny_config, devices=2, teacher=teacher, steps=1)
    after = run(tiny_config, devices=2, teacher=teacher, steps=4)
    (its,) = [found for tree, found in on_device[-1:] if tree is teacher.variables]
    jax.tree.map(np.testing.assert_array_equal, before, jax.device_get(its))
    for one, other in ((first.params, after.params), (first.batch_stats, after.batch_stats)):
        moved = jax.tree.map(lambda a, b: bool(np.any(a != b)), one, other)
        assert all(jax.tree.leaves(moved))


def test_an_image_that_does_not_count_teaches_nothing(tiny_config):
    config = plain(tiny_config)
    teacher = make_teacher(get_model("tiny", num_classes=10))
    batch = batch_of(np.random.default_rng(3))
    batch["label"][5] = -1
    other = {**batch, "image": batch["image"].copy()}
    other["image"][5] = 255 - other["image"][5]
    options = {"steps": 1, "teacher": teacher, "batch_norm": False}
    assert_same(*(run(config, batches=[b], **options).params for b in (batch, other)))


@pytest.mark.parametrize("option", ["accumulation", "rematerialize", "bfloat16"])
def test_a_teacher_beside_other_options(tiny_config, option):
    config = plain(tiny_config)
    teacher = make_teacher(get_model("tiny", num_classes=10))
    options = {"teacher": teacher, "batch_norm": False}
    expected = run(config, **options)
    if option == "accumulation":
        after = run(config, accumulation=2, **options)
    elif option == "rematerialize":
        config.rematerialize = True
        after = run(config, **options)
    else:
        teacher.model = get_model("tiny", num_classes=10, dtype=jnp.bfloat16)
        after = run(config, **options)
        differences = jax.tree.map(lambda a, b: np.abs(a - b).max(), expected.params, after.params)
        assert 1e-7 < max(jax.tree.leaves(differences)) < 1e-2
        return
    assert_same(expected.params, after.params)


def test_a_teacher_changes_neither_the_state_nor_what_devices_exchange(tiny_config):
    layout = parallel.make_layout(BATCH, group_size=8, devices=jax.devices()[:8])
    model = get_model("tiny", num_classes=10, bn_groups=layout.batch_norm_groups)
    teacher = make_teacher(get_model("tiny", num_classes=10))
    moved, shapes = [], []
    for setup in (parts(tiny_config, model, layout, who) for who in (None, teacher)):
        state = jax.eval_shape(
            lambda setup=setup: create_state(tiny_config, model, setup.optimizer, 0)
        )
        constants = (parallel.replicated_like(teacher.variables, layout),) if setup.teacher else ()
        batch = parallel.train_batch_like(8, layout)
        lowered = step_module.make_train_step(tiny_config, setup).lower(
            parallel.replicated_like(state, layout), batch, *constants
        )
        kernels = read_kernels(lowered.compile().as_text())
        moved.append(sum(k.times * k.bytes for k in kernels if k.kind == "collective"))
        shapes.append(jax.tree.map(lambda x: (x.shape, x.dtype), lowered.out_info))
    # The loss is another one than that against the labels, and the count than that of the labelled;
    # and of the partner that it is mixed with each image learns whether it counts.
    assert moved[1] == moved[0] + 4 + 4 + 4 * (BATCH // 8)
    assert shapes[0] == shapes[1]
