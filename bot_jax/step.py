"""The training step.

On every device at once:

    uint8 images -> augmentations of pixels -> normalise -> augmentations of normalised images
    -> mixing -> model (and teacher) -> loss
    -> gradients, summed over micro-batches and devices -> optimiser -> new state

Parameters and optimiser state are float32; the model computes in `config.precision.compute`;
batch statistics, softmax and loss are float32. All of it is float64 where the model computes in
that, see precision.py. All randomness is keyed by sample id.
"""

import inspect
from functools import partial

import jax
import jax.numpy as jnp
import optax

from bot_jax import parallel
from bot_jax.batch import prepare_batch
from bot_jax.data.labels import UNREADABLE
from bot_jax.loss_scale import update_loss_scale
from bot_jax.losses.distillation import distillation_loss
from bot_jax.losses.registry import make_loss
from bot_jax.metrics import SUMS, add_metrics
from bot_jax.models.rematerialize import rematerialize
from bot_jax.optim.ema import ema_decay_at, update_ema
from bot_jax.optim.feedback import after_step, rate_factor
from bot_jax.optim.freeze import stop_gradients
from bot_jax.optim.weight_decay import penalty
from bot_jax.rng import purpose_of, sample_keys
from bot_jax.state import TrainState


def _losses(config, loss, outputs, targets, present, teacher_logits):
    """What is minimised, and its part against the labels, [b] each."""
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


def _counts(labels, teacher):
    """Which examples are in the mean of the loss."""
    # Without a teacher nothing can be learned from an image without a label.
    return labels != UNREADABLE if teacher else labels >= 0


def _make_micro_batch_loss(config, setup):
    """The function that is differentiated: the sum of the losses of a device's part of a batch."""
    loss, teacher, class_weights = make_loss(config.loss), setup.teacher, setup.class_weights
    forward = partial(setup.model.apply, train=True, mutable=["batch_stats"])
    draws = "keys" in inspect.signature(setup.model.__call__).parameters
    if config.rematerialize:
        forward = rematerialize(forward)

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
            # In the loss of each example that counts, and so once in their mean.
            decay = penalty(params, config.optimizer, setup.decay_mask)
            losses += _counts(batch["label"], teacher) * decay
        predicted = jnp.argmax(outputs[0], -1)
        correct = jnp.sum(jnp.take_along_axis(credit, predicted[:, None], axis=-1))
        sums = {"loss": jnp.sum(losses), "label_loss": jnp.sum(label_losses), "correct": correct}
        return jnp.sum(losses) * scale, (updated.get("batch_stats", {}), sums)

    return micro_batch_loss


def _sum_micro_batches(micro_batch_loss, layout, state, scale, batch, teacher_variables):
    """Gradients, new batch statistics and sums of metrics of one device, over its micro-batches."""
    params = parallel.per_device(state.params)

    def accumulate(carry, micro_batch):
        gradients, batch_stats, sums = carry
        new_gradients, (batch_stats, new_sums) = jax.grad(micro_batch_loss, has_aux=True)(
            params, batch_stats, scale, micro_batch, state.step, teacher_variables
        )
        gradients = jax.tree.map(jnp.add, gradients, new_gradients)
        return (gradients, batch_stats, jax.tree.map(jnp.add, sums, new_sums)), None

    gradients = jax.tree.map(jnp.zeros_like, params)
    sums = parallel.per_device(dict.fromkeys(SUMS, jnp.zeros((), float)))
    carry = (gradients, parallel.per_device(state.batch_stats), sums)
    if layout.accumulation == 1:
        carry, _ = accumulate(carry, jax.tree.map(lambda x: x[0], batch))
    else:
        carry, _ = jax.lax.scan(accumulate, carry, batch, unroll=layout.unrolls)
    return carry


def _updated(config, setup, state, gradients, batch_stats, sums) -> TrainState:
    """The state after a step with these gradients, statistics and sums, the same on all devices."""
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
    # A step that is not finite leaves no trace in weights and optimiser, so that what is saved is
    # always good.
    old = {name: getattr(state, name) for name in new}
    new = jax.tree.map(lambda n, o: jnp.where(finite, n, o), new, old)
    ema = state.ema
    if ema is not None:
        averaged = {"params": new["params"], "batch_stats": new["batch_stats"]}
        ema = update_ema(ema, averaged, ema_decay_at(state.step, config.ema_decay))
    return TrainState(
        step=state.step + 1,
        ema=ema,
        loss_scale=update_loss_scale(state.loss_scale, finite, config.precision.loss_scale),
        feedback=after_step(
            state.feedback, sums["correct"], sums["labelled"], finite, config.schedule
        ),
        metrics=add_metrics(state, sums, gradient_norm, rate, finite, config.precision),
        **new,
    )


def make_train_step(config, setup):
    """Compiles the training step.

    Args:
      config: the whole configuration.
      setup: `setup.Setup`, of which model, teacher, optimizer, schedule, layout, decay_mask,
        class_weights, num_classes, steps_per_epoch and mixing_steps matter.

    Returns:
      A function (TrainState, device batch of `parallel.put_batch`) -> (TrainState, done) that
      donates the old state and never waits for the device; with a teacher its variables are a third
      argument. `done` is the number of steps, to wait for without keeping a donated buffer.
    """
    micro_batch_loss, layout = _make_micro_batch_loss(config, setup), setup.layout

    def step(state: TrainState, batch, teacher_variables=None):
        # The loss is the mean over the examples of the global batch that count. How many do is
        # not known before all devices are asked, so what is differentiated is the sum over the
        # size of the batch; the rest of the division comes after the one sum over devices.
        scale = state.loss_scale.scale / layout.batch_size
        gradients, batch_stats, sums = _sum_micro_batches(
            micro_batch_loss, layout, state, scale, batch, teacher_variables
        )
        labels = batch["label"]
        sums |= {
            "count": jnp.sum(_counts(labels, setup.teacher)).astype(float),
            "labelled": jnp.sum(labels >= 0).astype(float),
        }
        gradients, batch_stats, sums = parallel.sum_over_devices((gradients, batch_stats, sums))
        batch_stats = jax.tree.map(lambda total: total / layout.mesh.size, batch_stats)
        share = layout.batch_size / jnp.maximum(sums["count"], 1.0) / state.loss_scale.scale
        gradients = jax.tree.map(lambda g: g * share, gradients)
        state = _updated(config, setup, state, gradients, batch_stats, sums)
        return state, state.step + 0

    computes_in = [config.precision.compute]
    if setup.teacher:
        computes_in.append(config.distillation.compute)
    return parallel.sharded(step, layout, has_float16="float16" in computes_in)
