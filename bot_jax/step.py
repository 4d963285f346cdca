"""The training step and the evaluation step.

One training step, on every device at once:

    uint8 images -> colours and the like -> normalise -> mixing -> model (and teacher) -> loss
    -> gradients, summed over micro-batches and devices -> optimiser -> new state

Parameters and optimiser state are float32; the model computes in `config.precision.compute`;
batch statistics, softmax and loss are float32. All randomness is keyed by sample id.
"""

import inspect
from functools import partial

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import flatten_dict, unflatten_dict

from bot_jax import parallel
from bot_jax.augment.mixing import Rows, mix
from bot_jax.augment.normalize import normalize
from bot_jax.augment.registry import augment_images
from bot_jax.loss_scale import LossScale, initial_loss_scale, update_loss_scale
from bot_jax.losses.cross_entropy import cross_entropy
from bot_jax.losses.distillation import distillation_loss
from bot_jax.losses.label_smoothing import smooth_labels
from bot_jax.losses.registry import make_loss
from bot_jax.models.rematerialize import rematerialize
from bot_jax.optim.ema import ema_decay_at, update_ema
from bot_jax.optim.feedback import Feedback, after_step, initial_feedback, rate_factor
from bot_jax.optim.freeze import stop_gradients
from bot_jax.optim.no_bias_decay import decay_mask
from bot_jax.optim.weight_decay import penalty
from bot_jax.rng import Purpose, purpose_of, sample_keys


@flax.struct.dataclass
class TrainState:
    """All that a run carries from step to step, replicated on every device.

    Attributes:
      step: int32, steps done.
      params: float32 parameters.
      batch_stats: float32 running statistics of batch norm.
      opt_state: state of the optimiser.
      ema: moving average of {"params", "batch_stats"}, or None.
      loss_scale: `LossScale`.
      feedback: `Feedback`, what the learning rate depends on beside the step.
      metrics: sums since the metrics were last read, see `zero_metrics`.
    """

    step: jax.Array
    params: dict
    batch_stats: dict
    opt_state: tuple
    ema: dict | None
    loss_scale: LossScale
    feedback: Feedback
    metrics: dict


_SUMS = ("loss", "label_loss", "correct")
# The label of an image that could not be read. One without a label has -2.
_COUNTS_IN_NOTHING = -1


def zero_metrics():
    """Sums of training metrics: nothing yet.

    loss, label_loss, correct, count, labelled: sums over examples (label_loss: the part that knows
    the labels only, without teacher, auxiliary head, L1 and L2; correct counts under mixup as the
    weight of the predicted class in the pair; count: all in the loss; labelled: those with a
    label).
    gradient_norm: sum over steps. steps, skipped: numbers of steps, and of those skipped because a
    gradient was not finite. bad_step: the first step, counted from 1, that must stop the run, or 0.
    loss_scale, learning_rate: those of the last step.
    """
    names = (*_SUMS, "count", "labelled", "gradient_norm", "loss_scale", "learning_rate")
    zeros = {name: np.float32(0) for name in names}
    return zeros | {name: np.int32(0) for name in ("steps", "skipped", "bad_step")}


def initial_variables(model, image_size: int, seed) -> dict:
    """{"params", "batch_stats"} before training; `seed` is the run's, an array where traced."""
    key = jax.random.fold_in(jax.random.key(seed), int(Purpose.INITIALIZATION))
    variables = model.init(key, jnp.zeros((1, image_size, image_size, 3)), train=False)
    return {"params": variables["params"], "batch_stats": variables.get("batch_stats", {})}


def create_state(config, model, optimizer, seed, pretrained=None) -> TrainState:
    """The state before the first step; `seed` as in `initial_variables`.

    The arrays of `pretrained`, {"params", "batch_stats"} or a part of it, take the place of those
    that are drawn, before anything is made of them.
    """
    averaged = initial_variables(model, config.data.image_size, seed)
    if pretrained:
        # A copy: what a jitted function hands through is the same buffer wherever it comes out.
        loaded = flatten_dict(jax.tree.map(jnp.copy, pretrained))
        averaged = unflatten_dict(flatten_dict(averaged, keep_empty_nodes=True) | loaded)
    params, batch_stats = averaged["params"], averaged["batch_stats"]
    return TrainState(
        step=jnp.int32(0),
        params=params,
        batch_stats=batch_stats,
        opt_state=optimizer.init(params),
        # A copy: donated buffers must not appear twice.
        ema=jax.tree.map(jnp.copy, averaged) if config.ema_decay else None,
        loss_scale=initial_loss_scale(config.precision),
        feedback=initial_feedback(config.schedule),
        metrics=zero_metrics(),
    )


def prepare_batch(config, setup, batch, step=0):
    """Augments, normalises and mixes one micro-batch on its device.

    Args:
      config: the whole configuration.
      setup: see `make_train_step`.
      batch: image uint8 [b, H, W, 3], label int32 [b] (-1: the image counts in nothing, -2: it
        has no label), sample_id uint32 [b].
      step: int32 scalar, steps done.

    Returns:
      images float32 [b, H, W, 3], targets float32 [b, K], `credit` float32 [b, K], the unsmoothed
      targets, by which training accuracy is counted, and `present` float32 [b], the part of each
      image that counts, labelled or not.
    """
    step = jnp.asarray(step)
    each = {
        "seed": config.seed,
        "sample_ids": batch["sample_id"],
        "epoch": step.astype(jnp.float32) / setup.steps_per_epoch,
    }
    images = augment_images(batch["image"], config.augment, "pixels", **each)
    images = augment_images(normalize(images), config.augment, "normalized", **each)
    smoothing = config.label_smoothing
    labels, num_classes = batch["label"], setup.num_classes
    targets = smooth_labels(labels, num_classes, smoothing.epsilon, smoothing.form)
    credit = smooth_labels(labels, num_classes, 0.0)
    present = (labels != _COUNTS_IN_NOTHING).astype(jnp.float32)
    images, (targets, credit, present) = mix(
        images,
        [targets, credit, present],
        Rows(config.seed, batch["sample_id"], setup.layout),
        config.augment,
        draw=config.mixing.draw,
        mixes=step < setup.mixing_steps,
        step=step,
    )
    return images, targets, credit, present


def _losses(config, loss, outputs, targets, present, teacher_logits):
    """What is minimised, and its part against the labels, float32 [b] each."""
    logits, *auxiliary = outputs
    label_losses = losses = loss(logits, targets)
    for other in auxiliary:
        losses += config.auxiliary_loss_weight * loss(other, targets)
    if teacher_logits is not None:
        distillation = config.distillation
        soft = distillation_loss(
            logits, teacher_logits, distillation.temperature, distillation.form
        )
        losses = distillation.hard_weight * losses + distillation.soft_weight * present * soft
    return losses, label_losses


def make_train_step(config, setup):
    """Compiles the training step.

    Args:
      config: the whole configuration.
      setup: `setup.Setup`, of which model, teacher, optimizer, schedule, layout, num_classes,
        steps_per_epoch, mixing_steps and class_weights matter.

    Returns:
      A function (TrainState, device batch of `parallel.put_batch`) -> (TrainState, done) that
      donates the old state and never waits for the device; with a teacher its variables are a third
      argument. `done` is the number of steps, to wait for without keeping a donated buffer.
    """
    loss = make_loss(config.loss)
    policy, layout, teacher = config.precision, setup.layout, setup.teacher
    class_weights = getattr(setup, "class_weights", None)  # data/balance.py
    forward = partial(setup.model.apply, train=True, mutable=["batch_stats"])
    draws = "keys" in inspect.signature(setup.model.__call__).parameters
    if config.rematerialize:
        forward = rematerialize(forward)

    def counts_in_loss(labels):
        # Without a teacher nothing can be learned from an image without a label.
        return labels != _COUNTS_IN_NOTHING if teacher else labels >= 0

    def micro_batch_loss(params, batch_stats, scale, batch, step, teacher_variables):
        images, targets, credit, present = prepare_batch(config, setup, batch, step)
        params = stop_gradients(params, config.freeze.parameters)
        variables = {"params": params, "batch_stats": batch_stats}
        drawn = {}
        if draws:
            drawn["keys"] = sample_keys(config.seed, purpose_of("model"), batch["sample_id"])
        outputs, updated = forward(variables, images, **drawn)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        teacher_logits = teacher and teacher.model.apply(teacher_variables, images, train=False)
        losses, label_losses = _losses(config, loss, outputs, targets, present, teacher_logits)
        if class_weights is not None:
            # Of a mixture, the mixture of the weights. (A product would be rounded to TF32.)
            weights = jnp.sum(credit * class_weights, axis=-1)
            losses, label_losses = weights * losses, weights * label_losses
        if config.optimizer.decay_in == "loss":
            mask = decay_mask(params, config.optimizer.no_bias_decay)
            # In the loss of each example that counts, and so once in their mean.
            losses += counts_in_loss(batch["label"]) * penalty(params, config.optimizer, mask)
        predicted = jnp.argmax(outputs[0], -1)
        correct = jnp.sum(jnp.take_along_axis(credit, predicted[:, None], axis=-1))
        sums = {"loss": jnp.sum(losses), "label_loss": jnp.sum(label_losses), "correct": correct}
        return jnp.sum(losses) * scale, (updated.get("batch_stats", {}), sums)

    def step(state: TrainState, batch, teacher_variables=None):
        # The loss is the mean over the examples of the global batch that count. How many do is
        # not known before all devices are asked, so what is differentiated is the sum over the
        # size of the batch; the rest of the division comes after the one sum over devices.
        scale = state.loss_scale.scale / layout.batch_size
        params = parallel.per_device(state.params)

        def accumulate(carry, micro_batch):
            gradients, batch_stats, sums = carry
            new_gradients, (batch_stats, new_sums) = jax.grad(micro_batch_loss, has_aux=True)(
                params, batch_stats, scale, micro_batch, state.step, teacher_variables
            )
            gradients = jax.tree.map(jnp.add, gradients, new_gradients)
            return (gradients, batch_stats, jax.tree.map(jnp.add, sums, new_sums)), None

        gradients = jax.tree.map(jnp.zeros_like, params)
        sums = parallel.per_device(dict.fromkeys(_SUMS, jnp.float32(0)))
        carry = (gradients, parallel.per_device(state.batch_stats), sums)
        if layout.accumulation == 1:
            carry, _ = accumulate(carry, jax.tree.map(lambda x: x[0], batch))
        else:
            carry, _ = jax.lax.scan(accumulate, carry, batch, unroll=layout.unrolls)
        gradients, batch_stats, sums = carry

        labels = batch["label"]
        sums |= {
            "count": jnp.sum(counts_in_loss(labels)).astype(jnp.float32),
            "labelled": jnp.sum(labels >= 0).astype(jnp.float32),
        }
        gradients, batch_stats, sums = parallel.sum_over_devices((gradients, batch_stats, sums))
        batch_stats = jax.tree.map(lambda total: total / layout.mesh.size, batch_stats)
        share = layout.batch_size / jnp.maximum(sums["count"], 1.0) / state.loss_scale.scale
        gradients = jax.tree.map(lambda g: g * share, gradients)
        gradient_norm = optax.tree.norm(gradients)
        finite = jnp.isfinite(gradient_norm) & jnp.isfinite(sums["loss"])

        rate = setup.schedule(state.step) * rate_factor(state.feedback, config.schedule)
        updates, opt_state = setup.optimizer.update(
            gradients, state.opt_state, state.params, learning_rate=rate
        )
        new = {
            "params": optax.apply_updates(state.params, updates),
            "batch_stats": batch_stats,
            "opt_state": opt_state,
        }
        # A step that is not finite leaves no trace in weights and optimiser, so that what is saved
        # is always good.
        old = {name: getattr(state, name) for name in new}
        new = jax.tree.map(lambda n, o: jnp.where(finite, n, o), new, old)
        if state.ema is None:
            ema = None
        else:
            averaged = {"params": new["params"], "batch_stats": new["batch_stats"]}
            ema = update_ema(state.ema, averaged, ema_decay_at(state.step, config.ema_decay))
        state = TrainState(
            step=state.step + 1,
            ema=ema,
            loss_scale=update_loss_scale(state.loss_scale, finite, policy.loss_scale),
            feedback=after_step(
                state.feedback, sums["correct"], sums["labelled"], finite, config.schedule
            ),
            metrics=_add_metrics(state, sums, gradient_norm, rate, finite, policy),
            **new,
        )
        return state, state.step + 0

    return parallel.sharded(step, layout)


def _add_metrics(state, sums, gradient_norm, learning_rate, finite, policy):
    old = state.metrics
    # With a loss scale an overflow is expected now and then; only one that halving the scale
    # can no longer cure is a failure.
    curable = policy.loss_scale == "static" or (
        (policy.loss_scale == "dynamic") & (state.loss_scale.scale > 1.0)
    )
    bad = jnp.where(finite | curable, 0, state.step + 1)
    kept = jax.tree.map(
        lambda x: jnp.where(finite, x, 0.0), sums | {"gradient_norm": gradient_norm}
    )
    return {name: old[name] + value for name, value in kept.items()} | {
        "steps": old["steps"] + 1,
        "skipped": old["skipped"] + ~finite,
        "loss_scale": state.loss_scale.scale,
        "learning_rate": jnp.float32(learning_rate),
        "bad_step": jnp.where(old["bad_step"] > 0, old["bad_step"], bad),
    }


def zero_totals():
    """Sums of an evaluation: nothing yet."""
    return {name: np.int32(0) for name in ("top1", "top5", "count")} | {"loss": np.float32(0)}


def make_eval_step(model, layout, num_known=None):
    """Compiles the evaluation step.

    Args:
      model: the Flax module.
      layout: that of a batch.
      num_known: so many of the first classes are known ones; the others (the background) only take
        probability away from them. Default all.

    Returns:
      A function (totals, device batch, variables) -> (totals, examples) that donates the old
      totals; variables are {"params", "batch_stats"}. `examples` has an array [batch] each: label
      and predicted (int32), known (int32, the predicted class among the known ones) and confidence
      (float32, its probability). Examples with a label below 0 do not count. Among equal logits the
      lower class ranks first.
    """

    def step(totals, batch, variables):
        batch = jax.tree.map(lambda x: x[0], batch)
        logits = model.apply(variables, normalize(batch["image"].astype(jnp.float32)), train=False)
        labels, counts = batch["label"], batch["label"] >= 0
        own = jnp.take_along_axis(logits, jnp.maximum(labels, 0)[:, None], axis=-1)
        before = (logits > own) | (
            (logits == own) & (jnp.arange(logits.shape[-1]) < labels[:, None])
        )
        # A logit that is not a number compares as false; it must not win.
        rank = jnp.where(jnp.isfinite(own[:, 0]), jnp.sum(before, axis=-1), logits.shape[-1])
        losses = cross_entropy(logits, smooth_labels(labels, logits.shape[-1], 0.0))
        sums = {
            "top1": jnp.sum(counts & (rank < 1)),
            "top5": jnp.sum(counts & (rank < 5)),
            "count": jnp.sum(counts),
            "loss": jnp.sum(losses),
        }
        probabilities = jax.nn.softmax(logits.astype(jnp.float32), axis=-1)
        examples = {
            "label": labels,
            "predicted": jnp.argmax(logits, -1).astype(jnp.int32),
            "known": jnp.argmax(logits[:, :num_known], -1).astype(jnp.int32),
            "confidence": jnp.nan_to_num(jnp.max(probabilities[:, :num_known], axis=-1)),
        }
        examples = {name: parallel.own_rows(x, layout) for name, x in examples.items()}
        sums, examples = parallel.sum_over_devices((sums, examples))
        return jax.tree.map(jnp.add, totals, sums), examples

    return parallel.sharded(step, layout)
