"""The step on 1, 2, 4 and 8 devices, against one device and against NumPy."""

from types import SimpleNamespace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bot_jax import parallel
from bot_jax import step as step_module
from bot_jax.batch import prepare_batch
from bot_jax.eval_step import make_eval_step, zero_totals
from bot_jax.hlo import read_kernels
from bot_jax.losses.cross_entropy import cross_entropy
from bot_jax.losses.label_smoothing import smooth_labels
from bot_jax.models import count
from bot_jax.models.registry import get_model
from bot_jax.optim.no_bias_decay import decay_mask
from bot_jax.optim.optimizer import make_optimizer
from bot_jax.rng import Purpose, sample_keys
from bot_jax.state import create_state, initial_variables

BATCH = 32


def batch_of(rng, size=8, first_id=0):
    return {
        "image": rng.integers(0, 256, (BATCH, size, size, 3), dtype=np.uint8),
        "label": rng.integers(0, 10, BATCH).astype(np.int32),
        "sample_id": np.arange(first_id, first_id + BATCH, dtype=np.uint32),
    }


def parts(config, model, layout, teacher=None, mixing_steps=1000):
    """What the training step needs of a set-up."""

    def schedule(step):
        return jnp.float32(0.1) / (1 + step)

    return SimpleNamespace(
        model=model,
        teacher=teacher,
        optimizer=make_optimizer(config.optimizer, decay_mask),
        schedule=schedule,
        layout=layout,
        num_classes=10,
        steps_per_epoch=10,
        mixing_steps=mixing_steps,
        class_weights=None,
    )


def run(
    config,
    *,
    devices=1,
    group_size=8,
    accumulation=1,
    steps=2,
    batches=None,
    teacher=None,
    mixing_steps=1000,
    **options,
):
    """The state after some steps, on the host."""
    layout = parallel.make_layout(
        BATCH,
        group_size=group_size,
        accumulation=accumulation,
        devices=jax.devices()[:devices],
    )
    dtype = {"float32": jnp.float32, "float16": jnp.float16, "bfloat16": jnp.bfloat16}[
        config.precision.compute
    ]
    model = get_model(
        "tiny", num_classes=10, dtype=dtype, bn_groups=layout.batch_norm_groups, **options
    )
    setup = parts(config, model, layout, teacher=teacher, mixing_steps=mixing_steps)
    state = create_state(config, model, setup.optimizer, config.seed)
    state = parallel.replicate(state, layout)
    train_step = step_module.make_train_step(config, setup)
    constants = (parallel.replicate(teacher.variables, layout),) if teacher else ()
    rng = np.random.default_rng(0)
    for i in range(steps):
        batch = batches[i] if batches else batch_of(rng, first_id=i * BATCH)
        state, done = train_step(state, parallel.put_batch(batch, layout), *constants)
    assert int(done) == steps
    return jax.device_get(state)


def assert_same(a, b, **tolerance):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, **({"rtol": 1e-4, "atol": 1e-6} | tolerance))


@pytest.fixture(scope="module")
def one_device(tiny_model):
    """States on one device, by batch-norm group size."""
    from configs import quickstart

    config = quickstart.get_config()
    config.data.image_size = 8
    config.ema_decay = 0.9
    return config, {size: run(config, group_size=size) for size in (8, 32)}


@pytest.mark.parametrize("devices", [2, 4, 8])
@pytest.mark.parametrize("group_size", [8, 32])
def test_devices_do_not_change_the_run(one_device, devices, group_size):
    # Mixup, colour jitter, PCA noise and label smoothing are on. With groups of 8 on 8 devices
    # two devices share a group; groups of 32 are shared by all.
    config, expected = one_device
    state = run(config, devices=devices, group_size=group_size)
    assert_same(expected[group_size].params, state.params)
    assert_same(expected[group_size].batch_stats, state.batch_stats)
    assert_same(expected[group_size].ema, state.ema)
    assert_same(expected[group_size].metrics, state.metrics)


def test_group_size_does_change_the_run(one_device):
    _, states = one_device
    difference = np.abs(states[8].params["conv"]["kernel"] - states[32].params["conv"]["kernel"])
    assert difference.max() > 1e-4


def test_paper_groups_on_one_device_equal_eight_devices(tiny_config):
    # 8 GPUs of 4 examples each with statistics of their own, as unsynchronised batch norm.
    assert_same(
        run(tiny_config, devices=1, group_size=4).params,
        run(tiny_config, devices=8, group_size=4).params,
    )


def test_accumulation_equals_the_big_batch_without_batch_norm(tiny_config):
    big = run(tiny_config, group_size=8, batch_norm=False)
    small = run(tiny_config, group_size=8, accumulation=4, batch_norm=False)
    assert_same(big.params, small.params)
    assert_same(big.metrics, small.metrics)


def test_accumulation_on_devices_equals_accumulation_on_one(tiny_config):
    assert_same(
        run(tiny_config, accumulation=2, group_size=4).params,
        run(tiny_config, accumulation=2, group_size=4, devices=4).params,
    )


def plain(config):
    config.augment = {}
    config.label_smoothing.epsilon = 0.0
    return config


def test_first_update_is_that_of_the_mean_loss(tiny_config):
    """The gradient of the mean cross-entropy, computed without any of the step's machinery."""
    config = plain(tiny_config)
    batch = batch_of(np.random.default_rng(3))
    batch["label"][5] = -1  # does not count
    after = run(config, devices=4, group_size=32, steps=1, batches=[batch], batch_norm=False)

    model = get_model("tiny", num_classes=10, batch_norm=False)
    optimizer = make_optimizer(config.optimizer, decay_mask)
    params = create_state(config, model, optimizer, config.seed).params
    mean, std = np.array([123.68, 116.779, 103.939]), np.array([58.393, 57.12, 57.375])
    images = jnp.asarray((batch["image"] - mean) / std, jnp.float32)
    counts = batch["label"] >= 0

    def loss(params):
        log_p = jax.nn.log_softmax(model.apply({"params": params}, images, train=True))
        own = jnp.take_along_axis(log_p, jnp.asarray(batch["label"])[:, None] % 10, axis=1)[:, 0]
        return -jnp.sum(jnp.where(counts, own, 0)) / counts.sum()

    value, gradients = jax.value_and_grad(loss)(params)
    weight_decay = config.optimizer.weight_decay

    def expected(path, w, g):
        if path[-1].key == "kernel":
            g = g + weight_decay * w
        return w - 0.1 * (g + 0.9 * g)  # Nesterov's first step from zero momentum

    assert_same(jax.tree_util.tree_map_with_path(expected, params, gradients), after.params)
    assert after.metrics["count"] == BATCH - 1
    np.testing.assert_allclose(after.metrics["loss"] / (BATCH - 1), value, rtol=1e-5)


def test_training_accuracy_under_mixup_is_the_weight_of_the_predicted_class(tiny_config):
    config = plain(tiny_config)
    config.augment.mixup = {"alpha": 5.0}
    batch = batch_of(np.random.default_rng(1))
    images, targets, credit, _ = prepared(config, batch)
    np.testing.assert_allclose(targets, credit, atol=1e-6)  # without smoothing they are equal
    np.testing.assert_allclose(credit.sum(-1), 1, atol=1e-6)
    # Row 0 is mixed with row 7, the last of its group, and both with one weight.
    one_hot = np.asarray(smooth_labels(batch["label"], 10, 0.0))
    weight = np.dot(credit[0] - one_hot[7], one_hot[0] - one_hot[7]) / 2
    assert 0 < weight < 1
    np.testing.assert_allclose(
        credit[7], weight * one_hot[7] + (1 - weight) * one_hot[0], atol=1e-6
    )
    mean, std = np.array([123.68, 116.779, 103.939]), np.array([58.393, 57.12, 57.375])
    pixels = (batch["image"] - mean) / std
    np.testing.assert_allclose(
        images[0], weight * pixels[0] + (1 - weight) * pixels[7], rtol=1e-4, atol=1e-4
    )


def prepared(config, batch, devices=1, group_size=8, step=0):
    """Images, targets and credit, on so many devices."""
    layout = parallel.make_layout(BATCH, group_size=group_size, devices=jax.devices()[:devices])

    def prepare(batch):
        setup = parts(config, None, layout, mixing_steps=5)
        return prepare_batch(config, setup, batch, step)

    spec = jax.sharding.PartitionSpec(parallel.AXES)
    call = jax.shard_map(prepare, mesh=layout.mesh, in_specs=spec, out_specs=spec)
    return jax.device_get(jax.jit(call)(jax.tree.map(jnp.asarray, batch)))


@pytest.mark.parametrize("devices", [4, 8])
@pytest.mark.parametrize("pairs", ["reverse", "permute"])
def test_mixup_reads_the_same_partners_on_any_number_of_devices(tiny_config, devices, pairs):
    config = plain(tiny_config)
    config.augment.mixup = {"alpha": 5.0, "pairs": pairs, "lambda_per": "sample"}
    batch = batch_of(np.random.default_rng(1))
    # On 8 devices a group of 8 is on two of them.
    assert_same(*(prepared(config, batch, devices=n) for n in (1, devices)))


def test_mixup_permutes_within_groups_with_a_weight_for_each_sample(tiny_config):
    config = plain(tiny_config)
    config.augment.mixup = {"alpha": 5.0, "pairs": "permute", "lambda_per": "sample"}
    batch = batch_of(np.random.default_rng(1))
    number = np.arange(BATCH, dtype=np.uint8)
    batch["image"] = np.broadcast_to(number[:, None, None, None], batch["image"].shape).copy()
    ids = jnp.asarray(batch["sample_id"])
    keys = sample_keys(config.seed, Purpose.MIXUP, ids)
    weights = np.asarray(jax.vmap(lambda key: jax.random.beta(key, 5.0, 5.0))(keys))
    assert len(np.unique(weights)) == BATCH
    group_keys = sample_keys(config.seed, Purpose.MIXUP_PAIRS, ids[::8])
    partners = np.concatenate(
        [8 * i + np.asarray(jax.random.permutation(key, 8)) for i, key in enumerate(group_keys)]
    )
    images, targets, *_ = prepared(config, batch)
    expected = weights * number + (1 - weights) * partners
    np.testing.assert_allclose(images[:, 3, 3, 0] * 58.393 + 123.68, expected, atol=1e-3)
    one_hot = np.eye(10)[batch["label"]]
    mixed = weights[:, None] * one_hot + (1 - weights[:, None]) * one_hot[partners]
    np.testing.assert_allclose(targets, mixed, atol=1e-6)


def test_the_last_epochs_are_not_mixed_where_asked(tiny_config):
    config = plain(tiny_config)
    config.augment.mixup = {"alpha": 5.0}
    batch = batch_of(np.random.default_rng(1))
    images, targets, *_ = prepared(config, batch, step=5)
    np.testing.assert_array_equal(targets, np.eye(10)[batch["label"]])
    mean, std = np.array([123.68, 116.779, 103.939]), np.array([58.393, 57.12, 57.375])
    np.testing.assert_allclose(images, (batch["image"] - mean) / std, rtol=1e-4, atol=1e-4)

    biases = {n: run(config, steps=3, mixing_steps=n).params["head"]["bias"] for n in (0, 2, 3)}
    np.testing.assert_allclose(biases[3], run(config, steps=3).params["head"]["bias"], rtol=1e-5)
    assert np.abs(biases[3] - biases[2]).max() > 1e-4
    del config.augment.mixup
    np.testing.assert_allclose(biases[0], run(config, steps=3).params["head"]["bias"], rtol=1e-5)


def make_teacher(model):
    """Random weights, with statistics that are far from those of any batch."""
    variables = initial_variables(model, 8, seed=5)
    stats = jax.tree.map(lambda x: x + 0.5, variables["batch_stats"])
    return SimpleNamespace(model=model, variables={**variables, "batch_stats": stats})


def first_update(config, model, loss):
    """The parameters after one step of Nesterov's momentum at a rate of 0.1, and the loss."""
    optimizer = make_optimizer(config.optimizer, decay_mask)
    params = create_state(config, model, optimizer, config.seed).params
    value, gradients = jax.value_and_grad(loss)(params)

    def update(path, w, g):
        if path[-1].key == "kernel":
            g = g + config.optimizer.weight_decay * w
        return w - 0.1 * (g + 0.9 * g)

    return jax.tree_util.tree_map_with_path(update, params, gradients), value


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


def test_an_auxiliary_head_adds_its_weighted_loss(tiny_config):
    config = plain(tiny_config)
    config.auxiliary_loss_weight = 0.3

    class TwoHeads(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            x = x.mean((1, 2))
            logits, other = nn.Dense(10, name="head")(x), nn.Dense(10, name="auxiliary")(x)
            return (logits, other) if train else logits

    model, batch = TwoHeads(), batch_of(np.random.default_rng(3))
    layout = parallel.make_layout(BATCH, devices=jax.devices()[:2])
    setup = parts(config, model, layout)
    state = create_state(config, model, setup.optimizer, config.seed)
    state = parallel.replicate(state, layout)
    train_step = step_module.make_train_step(config, setup)
    after, _ = jax.device_get(train_step(state, parallel.put_batch(batch, layout)))

    images, targets, *_ = prepared(config, batch)

    def loss(params):
        both = (jax.nn.log_softmax(z) for z in model.apply({"params": params}, images, train=True))
        own, other = (-jnp.sum(targets * log_p) / BATCH for log_p in both)
        return own + 0.3 * other

    expected, value = first_update(config, model, loss)
    assert_same(expected, after.params)
    np.testing.assert_allclose(after.metrics["loss"] / BATCH, value, rtol=1e-5)


@pytest.mark.parametrize("compute", ["bfloat16", "float16"])
def test_low_precision_keeps_float32_parameters_and_stays_near(tiny_config, compute):
    config = plain(tiny_config)
    expected = run(config)
    config.precision.compute = compute
    config.precision.loss_scale = "static" if compute == "float16" else "none"
    config.precision.loss_scale_value = 1024.0
    state = run(config)
    assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {np.dtype("float32")}
    assert_same(expected.params, state.params, rtol=0.1, atol=0.02)
    np.testing.assert_allclose(
        expected.metrics["loss"], state.metrics["loss"], rtol=0.02 if compute == "float16" else 0.1
    )


def test_float16_computes_convolutions_and_their_gradients_in_float16(tiny_config, tiny_model):
    """As the paper has it: copies of the weights, activations and gradients, all three."""
    tiny_config.precision.compute = "float16"
    layout = parallel.make_layout(BATCH, group_size=8, devices=jax.devices()[:1])
    model = get_model("tiny", dtype=jnp.float16, bn_groups=layout.batch_norm_groups)
    setup = parts(tiny_config, model, layout)
    state = jax.eval_shape(lambda: create_state(tiny_config, model, setup.optimizer, 0))
    step = step_module.make_train_step(tiny_config, setup)
    jaxpr = step.trace(state, parallel.train_batch_like(8, layout)).jaxpr

    def convolutions(jaxpr):
        for equation in jaxpr.eqns:
            if equation.primitive.name == "conv_general_dilated":
                yield {v.aval.dtype for v in (*equation.invars, *equation.outvars)}
            for inner in count._inner_jaxprs(equation.params):
                yield from convolutions(inner)

    found = list(convolutions(jaxpr.jaxpr))
    assert len(found) >= 3  # forward and the gradient of the kernel, on a CPU or elsewhere
    assert all(dtypes == {jnp.dtype("float16")} for dtypes in found)
    assert {x.dtype for x in jax.tree.leaves(state.params)} == {jnp.dtype("float32")}


def test_overflow_skips_the_step_and_halves_a_dynamic_scale(tiny_config, monkeypatch):
    config = plain(tiny_config)
    # Large, since XLA may keep a gradient of float16 in float32 where it is not stored.
    monkeypatch.setattr(step_module, "make_loss", lambda _: lambda *a: 256 * cross_entropy(*a))
    config.precision.compute = "float16"
    config.precision.loss_scale = "dynamic"
    config.precision.loss_scale_value = 2.0**24  # gradients of float16 overflow at 65,504
    start = run(config, steps=1)
    assert start.metrics["skipped"] == 1
    assert start.metrics["bad_step"] == 0
    assert start.loss_scale.scale == 2.0**23
    for leaf in jax.tree.leaves(start.opt_state):
        if leaf.dtype == np.float32:
            assert not leaf.any()  # no momentum from the skipped step
    later = run(config, steps=20)
    assert 0 < later.metrics["skipped"] < 20
    assert np.isfinite(jax.tree.leaves(later.params)[0]).all()


def test_a_planted_overflow_skips_one_step_halves_the_scale_and_the_run_goes_on(
    tiny_config, monkeypatch
):
    config = plain(tiny_config)
    config.precision.compute, config.precision.loss_scale = "float16", "dynamic"
    config.precision.loss_scale_value = 1024.0

    def plant(config, setup, batch, step):
        images, targets, *others = prepare_batch(config, setup, batch, step)
        second_step = (batch["sample_id"] >= BATCH) & (batch["sample_id"] < 2 * BATCH)
        return images, jnp.where(second_step[:, None], 1e9 * targets, targets), *others

    rng = np.random.default_rng(0)
    batches = [batch_of(rng, first_id=i * BATCH) for i in range(4)]
    monkeypatch.setattr(step_module, "prepare_batch", plant)
    states = [run(config, steps=n, batches=batches) for n in (1, 2, 4)]
    assert [int(s.metrics["skipped"]) for s in states] == [0, 1, 1]
    assert [float(s.loss_scale.scale) for s in states] == [1024, 512, 512]
    assert [int(s.step) for s in states] == [1, 2, 4]
    assert states[2].metrics["bad_step"] == 0
    for one, two in zip(
        jax.tree.leaves(states[0].params), jax.tree.leaves(states[1].params), strict=True
    ):
        np.testing.assert_array_equal(one, two)
    assert np.abs(states[2].params["head"]["bias"] - states[1].params["head"]["bias"]).max() > 0
    assert states[1].metrics["count"] == BATCH  # a step that is skipped is not in the averages
    assert states[2].metrics["count"] == 3 * BATCH


def test_a_step_that_is_not_finite_is_noted_and_leaves_the_weights_alone(tiny_config, monkeypatch):
    config = plain(tiny_config)
    batches = [batch_of(np.random.default_rng(i), first_id=i * BATCH) for i in range(3)]
    good = run(config, steps=1, batches=batches)

    def broken(logits, targets):  # infinite wherever an image of the second or third batch is
        losses = -jnp.sum(targets * jax.nn.log_softmax(logits), axis=-1)
        return jnp.where(jnp.sum(targets, axis=-1) < 1.0, jnp.inf, 1.0) * losses

    monkeypatch.setattr(step_module, "make_loss", lambda config_loss: broken)
    for batch in batches[1:]:
        batch["label"][0] = -1
    bad = run(config, steps=3, batches=batches)
    assert good.metrics["bad_step"] == 0
    assert bad.metrics["bad_step"] == 2
    assert bad.metrics["skipped"] == 2
    assert_same(good.params, bad.params, rtol=0, atol=0)
    assert_same(good.batch_stats, bad.batch_stats, rtol=0, atol=0)


def test_a_skipped_step_leaves_counters_of_the_optimizer_and_the_training_error_alone(
    tiny_config, monkeypatch
):
    config = plain(tiny_config)
    config.optimizer.name, config.optimizer.lookahead_steps = "adam", 3
    good = run(config, steps=1)
    monkeypatch.setattr(step_module, "make_loss", lambda _: lambda *a: jnp.inf * cross_entropy(*a))
    bad = run(config, steps=1)

    def counters(state):
        leaves = jax.tree.leaves(state.opt_state)
        return [int(x) for x in leaves if np.issubdtype(x.dtype, np.integer)]

    assert counters(good) == [1, 1]
    assert counters(bad) == [0, 0]
    assert good.feedback.error < 1
    assert bad.feedback.error == 1


@pytest.mark.parametrize("devices", [1, 8])
def test_rematerialising_changes_nothing(tiny_config, tiny_model, devices):
    plain = run(tiny_config, devices=devices)
    tiny_config.rematerialize = True
    again = run(tiny_config, devices=devices)
    assert_same(plain.params, again.params)
    assert_same(plain.batch_stats, again.batch_stats)


def eval_totals(variables, batches, devices, num_known=None):
    layout = parallel.make_layout(BATCH, devices=jax.devices()[:devices])
    layout = parallel.evaluation_layout(BATCH, layout.mesh)
    model = get_model("tiny", num_classes=10)
    eval_step = make_eval_step(model, layout, num_known)
    totals = parallel.replicate(zero_totals(), layout)
    variables = parallel.replicate(variables, layout)
    examples = []
    for batch in batches:
        totals, of_batch = eval_step(totals, parallel.put_batch(batch, layout), variables)
        examples.append(of_batch)
    return jax.device_get(totals), jax.tree.map(lambda *x: np.concatenate(x), *examples)


@pytest.mark.parametrize("devices", [1, 8])
def test_evaluation_counts_against_numpy(tiny_model, devices):
    model = get_model("tiny", num_classes=10)
    variables = model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)), train=False)
    rng = np.random.default_rng(0)
    batches = [{k: batch_of(rng)[k] for k in ("image", "label")} for _ in range(2)]
    batches[1]["label"][20:] = -1
    totals, examples = eval_totals(variables, batches, devices, num_known=7)

    mean, std = np.array([123.68, 116.779, 103.939]), np.array([58.393, 57.12, 57.375])
    images = np.concatenate([b["image"] for b in batches])[:52]
    labels = np.concatenate([b["label"] for b in batches])[:52]
    logits = model.apply(variables, jnp.asarray((images - mean) / std, jnp.float32), train=False)
    ranking = np.argsort(-np.asarray(logits, np.float64), axis=1, kind="stable")
    assert totals["count"] == 52
    assert totals["top1"] == (ranking[:, 0] == labels).sum()
    assert totals["top5"] == (ranking[:, :5] == labels[:, None]).any(1).sum()
    np.testing.assert_array_equal(examples["label"][:52], labels)
    np.testing.assert_array_equal(examples["predicted"][:52], ranking[:, 0])
    assert np.all(examples["label"][52:] == -1)
    log_p = np.asarray(jax.nn.log_softmax(logits))
    # The last three classes are the background's: their probability is nobody's.
    np.testing.assert_array_equal(examples["known"][:52], log_p[:, :7].argmax(1))
    assert (examples["known"][:52] != ranking[:, 0]).any()
    np.testing.assert_allclose(examples["confidence"][:52], np.exp(log_p[:, :7].max(1)), rtol=1e-5)
    np.testing.assert_allclose(totals["loss"], -log_p[np.arange(52), labels].sum(), rtol=1e-5)


def test_equal_or_broken_logits_do_not_count_as_correct(tiny_model):
    model = get_model("tiny", num_classes=10)
    variables = model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)), train=False)
    rng = np.random.default_rng(0)
    batch = {k: batch_of(rng)[k] for k in ("image", "label")}
    for value, expected in ((0.0, (batch["label"] == 0).sum()), (np.nan, 0)):
        head = {name: np.full(x.shape, value) for name, x in variables["params"]["head"].items()}
        broken = {**variables, "params": {**variables["params"], "head": head}}
        assert eval_totals(broken, [batch], 1)[0]["top1"] == expected


def test_devices_exchange_gradients_and_statistics_once(tiny_config, tiny_model):
    """The bytes of all collectives of the compiled step; the CPU does not join them into few."""
    layout = parallel.make_layout(BATCH, group_size=4, devices=jax.devices()[:8])
    model = get_model("tiny", num_classes=10, bn_groups=layout.batch_norm_groups)
    setup = parts(tiny_config, model, layout)
    state = jax.eval_shape(lambda: create_state(tiny_config, model, setup.optimizer, 0))
    train_step = step_module.make_train_step(tiny_config, setup)
    batch = parallel.train_batch_like(8, layout)
    lowered = train_step.lower(parallel.replicated_like(state, layout), batch)
    kernels = read_kernels(lowered.compile().as_text())
    moved = sum(k.times * k.bytes for k in kernels if k.kind == "collective")
    averaged = sum(x.size for x in jax.tree.leaves((state.params, state.batch_stats)))
    sums = 3  # loss, correct, count
    assert moved == 4 * (averaged + sums)
