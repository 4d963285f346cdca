"""Sums of training metrics, on the device."""

import jax
import jax.numpy as jnp
import numpy as np

# What is summed over examples, micro-batch by micro-batch.
SUMS = ("loss", "label_loss", "correct")


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
    names = (*SUMS, "count", "labelled", "gradient_norm", "loss_scale", "learning_rate")
    zeros = {name: np.float32(0) for name in names}
    return zeros | {name: np.int32(0) for name in ("steps", "skipped", "bad_step")}


def add_metrics(state, sums, gradient_norm, learning_rate, finite, policy):
    """The metrics of a state after one more step.

    Args:
      state: before the step.
      sums: over the step's examples: those of `SUMS`, count and labelled.
      gradient_norm: float32 scalar.
      learning_rate: float32 scalar.
      finite: bool scalar; a step that is not finite is in no sum but its own.
      policy: `config.precision`.
    """
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
