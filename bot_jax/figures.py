"""Draws figures 3 and 4 of the paper (arXiv 1812.01187) from runs.

python -m bot_jax.figures --step runs/step --cosine runs/cosine \
    --plain runs/cosine --smoothed runs/label_smoothing --output docs

figure3.png   learning rate of every step, and top-1 by epoch, step against cosine decay (5.1)
figure4.png   label smoothing: the gap between the largest logit and the others that fits the
              smoothed targets, by epsilon, and the gaps that two trained models have, between the
              largest logit and the mean of the others, on the images they are evaluated on (5.2)
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from bot_jax.errors import InputError, command
from bot_jax.plot import read_metrics

_EPILOG = """\
example:
  python -m bot_jax.figures --step runs/step --cosine runs/cosine \\
      --plain runs/cosine --smoothed runs/label_smoothing --output docs

The --workdir of finished runs; the data of the last two must be where they were. Either pair can be
left out.
"""


def logit_gaps(logits: np.ndarray) -> np.ndarray:
    """The largest logit minus the mean of the others: [n, K] -> [n]."""
    largest = logits.max(-1)
    return largest - (logits.sum(-1) - largest) / (logits.shape[-1] - 1)


def evaluation_logits(directory: Path) -> np.ndarray:
    """The logits of a run's newest checkpoint for every image of its evaluation split.

    Raises:
      InputError: there is no such run, or its data are not there.
    """
    import jax
    from ml_collections import ConfigDict

    from bot_jax.augment.normalize import normalize
    from bot_jax.data.pipeline import eval_batches
    from bot_jax.data.source import make_source
    from bot_jax.export import run_weights
    from bot_jax.models.registry import get_model
    from bot_jax.workdir import read_config

    config = ConfigDict(read_config(directory))
    weights = run_weights(directory)
    source = make_source(config.data, config.data.eval_split)
    model = get_model(weights.model, num_classes=len(weights.class_names), **weights.options)
    variables = jax.device_put(weights.variables)

    @jax.jit
    def forward(variables, images):
        return model.apply(variables, normalize(images.astype(np.float32)), train=False)

    size = config.eval_batch_size
    batches = eval_batches(source, config.data, batch_size=size, rows=np.arange(size))
    return np.concatenate(
        [np.asarray(forward(variables, b["image"]))[b["label"] >= 0] for b in batches]
    )


def scheduled_rates(directory: Path) -> tuple[np.ndarray, np.ndarray]:
    """The epochs at which the steps of a run begin, and their learning rates; reads no data.

    Raises:
      InputError: there is no such run, or its rate follows from its evaluations.
    """
    import jax
    from ml_collections import ConfigDict

    from bot_jax.optim.linear_scaling import scaled_learning_rate
    from bot_jax.optim.schedule import make_schedule
    from bot_jax.workdir import read_config

    config, last = ConfigDict(read_config(directory)), read_metrics(directory)[-1]
    if config.schedule.name == "plateau" or config.schedule.warmup_until_error:
        raise InputError(f"The learning rate of {directory} is not known before the run.")
    steps_per_epoch = round(last["step"] / last["epoch"])
    base = config.optimizer.base_learning_rate
    scale = config.batch_size if config.optimizer.linear_scaling else 256
    schedule = make_schedule(
        config.schedule,
        base=base,
        peak=scaled_learning_rate(base, scale),
        steps_per_epoch=steps_per_epoch,
        epochs=config.epochs,
    )
    steps = np.arange(round(config.epochs * steps_per_epoch))
    return steps / steps_per_epoch, np.asarray(jax.vmap(schedule)(steps))


def draw_figure3(step: Path, cosine: Path, output: Path) -> None:
    """Learning rate and top-1 by epoch of two runs."""
    from matplotlib import pyplot

    from bot_jax.workdir import TRAIN_CLEAN

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for color, (name, run) in zip(
        ("C0", "C1"), (("step decay", step), ("cosine decay", cosine)), strict=True
    ):
        lines = read_metrics(run)
        train = [line for line in lines if "learning_rate" in line]
        evaluated = [
            line for line in lines if "num_examples" in line and line["split"] != TRAIN_CLEAN
        ]
        if not (train and evaluated):
            raise InputError(f"The run in {run} has not been evaluated yet.")
        axes[0].plot(*scheduled_rates(run), color=color, label=name, drawstyle="steps-post")
        axes[1].plot(
            [line["epoch"] for line in evaluated],
            [line["top1"] for line in evaluated],
            color=color,
            marker="o",
            ms=3,
            label=f"{name}, {evaluated[-1]['split']}",
        )
        epochs, top1 = zip(*((line["epoch"], line["top1"]) for line in train), strict=True)
        axes[1].plot(epochs, top1, color=color, ls=":", lw=1.2, label=f"{name}, training")
    axes[0].set(xlabel="epoch", ylabel="learning rate", ylim=(0, None))
    axes[1].set(xlabel="epoch", ylabel="top-1 (%)")
    _save(figure, axes, output)


def draw_figure4(plain: np.ndarray, smoothed: np.ndarray, epsilon, form, output: Path) -> None:
    """The gap in theory, and those of the logits [n, K] of two models.

    Args:
      plain, smoothed: logits of a model that was trained without and with smoothing.
      epsilon, form: of the smoothing.
      output: the picture.
    """
    from matplotlib import pyplot

    from bot_jax.losses.label_smoothing import optimal_gap

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    num_classes = plain.shape[-1]
    values = np.linspace(0.005, 0.995, 199)
    for classes in dict.fromkeys((1000, num_classes)):
        gaps = [optimal_gap(value, classes, form) for value in values]
        axes[0].plot(values, gaps, label=f"{classes:,} classes")
    axes[0].axhline(0, color="0.5", lw=0.8)
    axes[0].set(xlabel="epsilon", ylabel="gap of the best fit (nats)")
    gaps = {"without smoothing": logit_gaps(plain), f"epsilon {epsilon:g}": logit_gaps(smoothed)}
    bins = np.linspace(0, max(own.max() for own in gaps.values()), 80)
    for i, (name, own) in enumerate(gaps.items()):
        label = f"{name}: {own.mean():.2f} ± {own.std():.2f}"
        axes[1].hist(own, bins, density=True, histtype="step", color=f"C{i}", label=label)
    best = optimal_gap(epsilon, num_classes, form)
    axes[1].axvline(best, color="C1", ls="--", lw=1, label=f"best fit: {best:.2f}")
    axes[1].set(xlabel="largest logit minus the mean of the others (nats)", ylabel="density")
    _save(figure, axes, output)


def _save(figure, axes, output):
    from matplotlib import pyplot

    for axis in axes:
        axis.grid(alpha=0.3)
        axis.legend(fontsize="small")
    try:
        figure.savefig(output, dpi=110)
    except OSError as error:
        raise InputError(f"{output} cannot be written: {error}") from error
    finally:
        pyplot.close(figure)


def _draw(flags):
    import matplotlib

    matplotlib.use("agg")
    if not (flags.step or flags.plain):
        raise InputError("Say which runs to draw: --step and --cosine, or --plain and --smoothed.")
    for one, other in (("step", "cosine"), ("plain", "smoothed")):
        if bool(getattr(flags, one)) != bool(getattr(flags, other)):
            raise InputError(f"--{one} and --{other} come together.")
    if flags.step:
        draw_figure3(flags.step, flags.cosine, flags.output / "figure3.png")
        print(f"Wrote {flags.output / 'figure3.png'}.", flush=True)
    if flags.plain:
        from bot_jax.workdir import read_config

        smoothing = read_config(flags.smoothed)["label_smoothing"]
        if not smoothing["epsilon"] or read_config(flags.plain)["label_smoothing"]["epsilon"]:
            raise InputError("--plain is a run without label smoothing, --smoothed one with it.")
        print("Evaluating both models ...", flush=True)
        logits = [evaluation_logits(run) for run in (flags.plain, flags.smoothed)]
        if logits[0].shape != logits[1].shape:
            raise InputError("--plain and --smoothed have other images or classes: not comparable.")
        draw_figure4(*logits, smoothing["epsilon"], smoothing["form"], flags.output / "figure4.png")
        print(f"Wrote {flags.output / 'figure4.png'}.")


@command
def main(arguments=None) -> int:
    """Runs the command and returns its exit code: 0, or 2 for wrong input."""
    parser = argparse.ArgumentParser(
        prog="python -m bot_jax.figures",
        description="Draws figures 3 and 4 of the paper from runs.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    runs = {
        "step": "a run with step decay",
        "cosine": "one with cosine decay",
        "plain": "a run without label smoothing",
        "smoothed": "one with it",
    }
    for name, text in runs.items():
        parser.add_argument(f"--{name}", type=Path, metavar="RUN", help=text)
    parser.add_argument(
        "--output", type=Path, default=Path(), metavar="DIR", help="where to write (here)"
    )
    flags = parser.parse_args(arguments)
    _draw(flags)
    return 0


if __name__ == "__main__":
    sys.exit(main())
