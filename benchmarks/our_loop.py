"""The training loop around the step, and its checkpoints: a worker of the benchmark."""

import contextlib
import dataclasses
import io
import json
import statistics
import tempfile
from pathlib import Path

import ours
import worker

from bot_jax import evaluate, train, training_loop
from bot_jax.compile_cache import OFF, use_compile_cache
from bot_jax.data.source import make_source
from bot_jax.huge_pages import use_huge_pages
from bot_jax.parallel import evaluation_layout
from bot_jax.setup import make_setup


def main():
    """Trains once, so that everything is compiled, and serves."""
    flags = worker.parse_flags(__doc__)
    folder = Path(tempfile.mkdtemp())
    use_compile_cache(OFF)
    config = ours.make_config(flags)
    source = make_source(config.data, "train")
    # One batch is enough for the evaluation that ends a run.
    sources = (source, dataclasses.replace(source, num_examples=flags.batch))
    steps = 1 + flags.units  # the first one is not timed
    steps_per_epoch = source.num_examples // flags.batch
    config.epochs = steps / steps_per_epoch
    config.schedule.warmup_epochs = config.eval_every_epochs = 0.0
    config.log_every_steps = steps
    config.diagnosis_examples = 0
    setup = make_setup(config, sources=sources)
    train.make_setup = lambda config: setup
    # Compiled once, not in each run.
    train_step = training_loop.make_train_step(config, setup)
    eval_step = evaluate.make_eval_step(setup.model, evaluation_layout(flags.batch))
    training_loop.make_train_step = lambda *_: train_step
    evaluate.make_eval_step = lambda *_: eval_step

    def train_once(every_epochs):
        """The lines of timing.jsonl of one run."""
        config.checkpoint.every_epochs = every_epochs
        with (
            tempfile.TemporaryDirectory(dir=folder) as directory,
            contextlib.redirect_stdout(io.StringIO()),
        ):
            train.train(config, Path(directory))
            lines = (Path(directory) / "timing.jsonl").read_text().splitlines()
        return list(map(json.loads, lines))

    def run():
        pace = next(x["images_per_second"] for x in train_once(0.0) if x["split"] == "train")
        # A run of its own: while one step is saved, the next ones share the cores with that.
        saves = [x for x in train_once(2 / steps_per_epoch) if x["split"] == "checkpoint"]
        return {
            "bot_jax": flags.units * flags.batch / pace,
            "one checkpoint": statistics.median(x["seconds"] for x in saves),
        }

    run()
    worker.serve(run)


if __name__ == "__main__":
    use_huge_pages()  # as bot_jax.main does
    main()
