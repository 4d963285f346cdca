"""The evaluation step: ranks, losses and predictions of a batch, on every device at once."""

import jax
import jax.numpy as jnp
import numpy as np

from bot_jax import parallel
from bot_jax.augment.normalize import normalize
from bot_jax.losses.cross_entropy import cross_entropy
from bot_jax.losses.label_smoothing import smooth_labels


def zero_totals():
    """Sums of an evaluation: nothing yet."""
    return {name: np.int32(0) for name in ("top1", "top5", "count")} | {
        "loss": np.zeros((), jax.dtypes.canonicalize_dtype(float))
    }


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
            "top1": jnp.sum(counts & (rank < 1), dtype=jnp.int32),
            "top5": jnp.sum(counts & (rank < 5), dtype=jnp.int32),
            "count": jnp.sum(counts, dtype=jnp.int32),
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

    has_float16 = getattr(model, "dtype", None) == jnp.float16
    return parallel.sharded(step, layout, has_float16=has_float16)
