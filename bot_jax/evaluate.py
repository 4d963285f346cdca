"""Exact evaluation: every example counts once, on any number of devices."""

from collections import deque
from pathlib import Path

import jax
import numpy as np

from bot_jax import parallel, processes, rejection, results
from bot_jax.checkpoint import Checkpoints
from bot_jax.data.background import known_classes
from bot_jax.data.pipeline import check_data_options, eval_batches
from bot_jax.data.source import make_source
from bot_jax.errors import InputError
from bot_jax.eval_step import make_eval_step, zero_totals
from bot_jax.setup import make_model
from bot_jax.state import variable_shapes
from bot_jax.workdir import check_workdir

# Up to this many batches are on their way to the device while it computes.
IN_FLIGHT = 3


def make_read(config, source, layout: parallel.Layout):
    """Returns a function that reads a split: an iterator of batches for `make_evaluate`'s."""
    rows = parallel.rows_of_this_process(layout)

    def read():
        """Pairs of a batch on the device and the number of its images that are bad."""
        for batch in eval_batches(source, config.data, batch_size=layout.batch_size, rows=rows):
            on_device = {name: batch[name] for name in ("image", "label")}
            yield parallel.put_batch(on_device, layout), int(batch["bad"].sum())

    return read


def make_evaluate(config, model, source, layout: parallel.Layout):
    """Prepares the evaluation of a split.

    Args:
      config: the whole configuration.
      model: the Flax module.
      source: the split, a `bot_jax.data.source.Source`.
      layout: that of a batch, see `parallel.evaluation_layout`.

    Returns:
      Two functions. `read()` returns an iterator of batches, to be given to the other one; it may
      be started early (`early.start_early`), since an evaluation begins with waiting for it.

      evaluate(variables, batches, keep_going) -> results. Variables are {"params",
      "batch_stats"}; batches default to `read()`, and may be those of another split (`make_read`),
      for which nothing is compiled again. `keep_going()` is asked before every batch, and
      where it is false the function returns None. Results: top1, top5 (percent), loss (mean, nats),
      num_examples, num_bad (files that could not be decoded and were skipped), classes (int32
      [num_examples, 2], the true and the predicted class of each), and of each known and
      confidence, see `eval_step.make_eval_step`.
    """
    read = make_read(config, source, layout)
    eval_step = make_eval_step(model, layout, known_classes(config, len(source.class_names)))

    def evaluate(variables, batches=None, keep_going=lambda: True):
        totals = parallel.replicate(zero_totals(), layout)
        num_bad, waiting, examples = 0, deque(), []
        for batch, bad in batches or read():
            if not keep_going():
                return None
            num_bad += bad
            totals, of_batch = eval_step(totals, batch, variables)
            waiting.append(of_batch)
            if len(waiting) > IN_FLIGHT:
                examples.append(jax.device_get(waiting.popleft()))
        examples += jax.device_get(list(waiting))
        each = {name: np.concatenate([x[name] for x in examples]) for name in examples[0]}
        each = {name: x[each["label"] >= 0] for name, x in each.items()}
        return summarize(jax.device_get(totals)) | {
            "num_bad": processes.total(num_bad),
            "classes": np.stack([each["label"], each["predicted"]], axis=-1),
            "known": each["known"],
            "confidence": each["confidence"],
        }

    return read, evaluate


def summarize(totals) -> dict:
    """Percentages and means of the sums of an evaluation, see `eval_step.zero_totals`."""
    count = max(int(totals["count"]), 1)
    return {
        "top1": 100.0 * int(totals["top1"]) / count,
        "top5": 100.0 * int(totals["top5"]) / count,
        "loss": float(totals["loss"]) / count,
        "num_examples": int(totals["count"]),
    }


def evaluated_variables(state) -> dict:
    """The weights that are evaluated: the moving average where there is one."""
    if state.ema is not None:
        return state.ema
    return {"params": state.params, "batch_stats": state.batch_stats}


def evaluate_checkpoint(config, directory: Path) -> tuple[dict, Path]:
    """Evaluates the newest checkpoint of a run on `config.data.eval_split`.

    Returns:
      The result and the file it was written to, DIR/evaluation_SPLIT.json.

    Raises:
      InputError: there is no checkpoint, or it is of a different model.
    """
    folder = directory / "checkpoints"
    if not folder.is_dir():
        raise InputError(f"--workdir {directory} has no checkpoints to evaluate.")
    with processes.together():
        check_workdir(directory, config, only="model.")
        check_data_options(config.data)
        source = make_source(config.data, config.data.eval_split)
        layout = parallel.evaluation_layout(config.eval_batch_size)
        model, counts = make_model(config, len(source.class_names))
    like = variable_shapes(model, config.data.image_size)
    with Checkpoints(folder, read_only=True) as checkpoints:
        finished = results.read(directory)
        step = results.weights_step(finished) if finished else None
        variables = checkpoints.restore_variables(like, layout, step)
        step = checkpoints.latest_step if step is None else step
    _, evaluate = make_evaluate(config, model, source, layout)
    evaluation = evaluate(variables)
    result = results.summary(
        config,
        evaluation,
        source=source,
        devices=layout.mesh.devices,
        counts=counts,
        step=step,
    )
    result |= rejection.of_run(config, directory, evaluation, len(source.class_names))
    name = f"evaluation_{config.data.eval_split.replace('/', '_')}"
    results.write(directory, source.class_names, result, evaluation, name)
    return result, directory / f"{name}.json"
