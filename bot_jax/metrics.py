"""Sums of training metrics on the device, and what is written of them."""

import jax
import jax.numpy as jnp
import numpy as np

# What is summed over examples, micro-batch by micro-batch.
SUMS = ("loss", "label_loss", "correct")

# So many steps in a row without a finite gradient are a failure with a static loss scale too.
OVERFLOWS = 10


def zero_metrics():
    """Sums of training metrics: nothing yet.

    loss, label_loss, correct, count, labelled: sums over examples (label_loss: the part that knows
    the labels only, without teacher, auxiliary head, L1 and L2; correct counts under mixup as the
    weight of the predicted class in the pair; count: all in the loss; labelled: those with a
    label).
    gradient_norm: sum over steps. steps, skipped: numbers of steps, and of those skipped because a
    gradient was not finite. bad_step: the first step, counted from 1, that must stop the run, or 0.
    loss_scale, learning_rate: those of the last step.

    Numbers of steps are int32, the others float32 (float64 in such a run).
    """
    names = (*SUMS, "count", "labelled", "gradient_norm", "loss_scale", "learning_rate")
    zeros = dict.fromkeys(names, np.zeros((), jax.dtypes.canonicalize_dtype(float)))
    return zeros | {name: np.int32(0) for name in ("steps", "skipped", "bad_step")}


def add_metrics(state, sums, gradient_norm, learning_rate, finite, policy):
    """The metrics of a state after one more step.

    Args:
      state: before the step.
      sums: over the step's examples: those of `SUMS`, count and labelled.
      gradient_norm: scalar.
      learning_rate: scalar.
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
        "learning_rate": jnp.asarray(learning_rate, float),
        "bad_step": jnp.where(old["bad_step"] > 0, old["bad_step"], bad),
    }


def means(metrics) -> dict:
    """What metrics.jsonl has of the sums since they were last read.

    Args:
      metrics: of a state, on the host; at least one step.

    Returns:
      loss (nats) and gradient_norm, means; top1, percent of the labelled examples; learning_rate
      and loss_scale, those of the last step; skipped_steps, a number; label_loss where it is not
      the loss.
    """
    count, labelled = (max(float(metrics[name]), 1.0) for name in ("count", "labelled"))
    scalars = {
        "loss": float(metrics["loss"]) / count,
        "top1": 100.0 * float(metrics["correct"]) / labelled,
        "learning_rate": float(metrics["learning_rate"]),
        "gradient_norm": float(metrics["gradient_norm"]) / int(metrics["steps"]),
        "skipped_steps": int(metrics["skipped"]),
        "loss_scale": float(metrics["loss_scale"]),
    }
    if metrics["label_loss"] != metrics["loss"]:  # there is a teacher, say, or an auxiliary head
        scalars["label_loss"] = float(metrics["label_loss"]) / labelled
    return scalars


def first_bad_step(step: int, metrics, loss_scale: str) -> int:
    """The first step, counted from 1, that must stop the run, or 0.

    Args:
      step: the last of the steps that `metrics` are of.
      metrics: as in `means`.
      loss_scale: `config.precision.loss_scale`.
    """
    skipped = int(metrics["skipped"])
    # With a static loss scale one step may overflow, but not one after the other.
    if loss_scale == "static" and skipped == int(metrics["steps"]) and skipped >= OVERFLOWS:
        return step - skipped + 1
    return int(metrics["bad_step"])
