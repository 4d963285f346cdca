"""Finds a learning rate: trains for a few steps while the rate rises, and looks at the loss.

python -m bot_jax.find_rate --config configs/photos.py --output rates --config.data.path=DIR

See optim/range_test.py for what is measured and suggested.
"""

import argparse
import contextlib
import copy
import dataclasses
import itertools
import json
import math
import sys
import time
from pathlib import Path

from bot_jax.config import split_overrides
from bot_jax.errors import InputError, command
from bot_jax.huge_pages import use_huge_pages

MIN_STEPS = 10

_EPILOG = """\
example:
  python -m bot_jax.find_rate --config configs/photos.py --output rates --config.data.path=DIR

The rates are those of a step. What is suggested is for config.optimizer.base_learning_rate, which
is multiplied by batch_size / 256 where config.optimizer.linear_scaling is on.
"""


def run(config, *, lowest: float, highest: float, steps: int):
    """Trains with a rising rate, from the weights that a run would start with.

    Args:
      config: the whole configuration; its schedule does not matter.
      lowest, highest: learning rates of the first and the last step.
      steps: of the test.

    Returns:
      A `range_test.Curve`.

    Raises:
      InputError: a value or a file of the user's is wrong.
    """
    import jax
    import jax.numpy as jnp

    from bot_jax import parallel
    from bot_jax.device_batches import device_batches, teacher_constants
    from bot_jax.metrics import OVERFLOWS, zero_metrics
    from bot_jax.optim.range_test import Smoother, exponential_rates, suggest_rates
    from bot_jax.pretrained import load_pretrained
    from bot_jax.progress import ProgressLine, format_duration
    from bot_jax.step import make_train_step

    setup = _with_rates(config, exponential_rates(lowest, highest, steps), steps)
    constants = teacher_constants(setup)
    train_step = make_train_step(config, setup)
    zeros = parallel.replicate(zero_metrics(), setup.layout)
    pretrained = load_pretrained(config, setup)
    drawn = setup.initial_state(pretrained and pretrained.variables)
    state = parallel.replicate(drawn, setup.layout)
    rates, losses, smoother, overflows = [], [], Smoother(steps), 0
    progress = ProgressLine(steps, 0)
    progress.line("Compiling the training step ...")
    began = None
    batches = itertools.islice(device_batches(config, setup), steps)
    try:
        for step, batch in enumerate(batches, 1):
            state, _ = train_step(state, batch, *constants)
            metrics = jax.device_get(state.metrics)
            state = state.replace(metrics=jax.tree.map(jnp.copy, zeros))
            overflows = overflows + 1 if metrics["skipped"] else 0
            if metrics["bad_step"] or overflows >= OVERFLOWS:
                return suggest_rates(rates, losses, steps, True)
            if not overflows and metrics["count"]:
                rates.append(float(metrics["learning_rate"]))
                losses.append(float(metrics["loss"]) / float(metrics["count"]))
                smoother.add(losses[-1])
                if smoother.has_blown_up():
                    return suggest_rates(rates, losses, steps, True)
            began = began or (step, time.perf_counter())  # without the compilation
            progress.advance(step)
            if rates and step % max(steps // 20, 1) == 0:
                left = (time.perf_counter() - began[1]) / max(step - began[0], 1) * (steps - step)
                progress.news(
                    f"step {step:,}/{steps:,}  left {format_duration(left)}  "
                    f"rate {rates[-1]:.3g}  loss {smoother.values[-1]:.4f}"
                )
    finally:
        progress.close()
    return suggest_rates(rates, losses, steps, False)


def _with_rates(config, schedule, steps):
    """The parts of a run with another schedule, and images mixed to the end of the test."""
    from bot_jax.setup import make_setup

    config = copy.deepcopy(config)
    config.schedule.warmup_until_error = 0.0  # or the rate would depend on it as well
    setup = make_setup(config)
    return dataclasses.replace(
        setup,
        schedule=schedule,
        mixing_steps=steps if setup.mixing_steps else 0,
    )


def base_rate(config, rate: float | None) -> float | None:
    """The `config.optimizer.base_learning_rate` that makes a step's rate `rate`."""
    from bot_jax.optim.linear_scaling import scaled_learning_rate

    batch_size = config.batch_size if config.optimizer.linear_scaling else 256
    return rate and rate / scaled_learning_rate(1.0, batch_size)


def write_json(config, curve, file: Path) -> None:
    """Writes all that is known of a test."""
    facts = dataclasses.asdict(curve) | {
        "base_learning_rate": {
            "steepest": base_rate(config, curve.steepest),
            "largest": base_rate(config, curve.largest),
        },
        "batch_size": config.batch_size,
        "config_name": config.name,
        "seed": config.seed,
    }
    file.write_text(json.dumps(facts, indent=1) + "\n")


def draw(config, curve, file: Path) -> None:
    """Draws the losses against the rates, with what is suggested."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(8, 4.2), layout="constrained")
    axis.semilogx(curve.rates, curve.losses, color="C0", lw=0.8, alpha=0.4, label="each step")
    axis.semilogx(curve.rates[: len(curve.smoothed)], curve.smoothed, color="C0", label="smoothed")
    for name, rate, color in (("steepest", curve.steepest, "C1"), ("largest", curve.largest, "C3")):
        if rate:
            base = base_rate(config, rate)
            label = f"{name}: {rate:.3g} (base_learning_rate {base:.3g})"
            axis.axvline(rate, color=color, ls="--", lw=1, label=label)
    # What comes before the loss explodes is to be seen.
    low, high = min(curve.losses), max(curve.losses[: len(curve.losses) // 4 + 1])
    axis.set(
        xlabel="learning rate of a step",
        ylabel="training loss (nats)",
        ylim=(low - 0.1 * (high - low), high + 0.6 * (high - low)),
        title=f"{config.name}, batch {config.batch_size}",
    )
    axis.grid(alpha=0.3)
    axis.legend(fontsize="small", loc="upper left")
    figure.savefig(file, dpi=110)
    pyplot.close(figure)


def report(config, curve, highest: float) -> str:
    """What a person is told."""
    if curve.steepest is None:
        return (
            "The loss did not fall at any rate, so nothing is suggested. Try a smaller --lowest, "
            "more --steps, and look at the picture."
        )
    lines = [
        f"{what}  --config.optimizer.base_learning_rate={base_rate(config, rate):.3g}"
        f"  ({rate:.3g} at a batch of {config.batch_size})"
        for what, rate in (
            ("Where the loss falls fastest:", curve.steepest),
            ("The largest that is safe:    ", curve.largest),
        )
    ]
    if not curve.blew_up:
        lines.append(
            f"The loss did not blow up; a larger --highest than {highest:g} may tell more."
        )
    return "\n".join(lines)


def _parse(arguments):
    parser = argparse.ArgumentParser(
        prog="python -m bot_jax.find_rate",
        description="Finds a learning rate: trains for a few steps while the rate rises.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config", required=True, metavar="FILE.py[:ROW]", help="configuration file and its row"
    )
    parser.add_argument(
        "--output", required=True, type=Path, metavar="DIR", help="for rates.json and rates.png"
    )
    parser.add_argument("--lowest", type=float, default=1e-5, metavar="RATE", help="first (1e-5)")
    parser.add_argument("--highest", type=float, default=10.0, metavar="RATE", help="last (10)")
    parser.add_argument("--steps", type=int, default=200, metavar="N", help="of the test (200)")
    flags, rest = parser.parse_known_args(arguments)
    return flags, split_overrides(parser, rest)


def _check(flags):
    if flags.steps < MIN_STEPS:
        raise InputError(f"--steps {flags.steps} must be at least {MIN_STEPS}.")
    if not 0 < flags.lowest < flags.highest < math.inf:
        raise InputError(
            f"--lowest {flags.lowest:g} must be above 0 and below --highest {flags.highest:g}."
        )


@contextlib.contextmanager
def _output_errors(output):
    try:
        yield
    except OSError as error:
        raise InputError(f"--output {output} cannot be written: {error}") from error


@command
def main(arguments=None) -> int:
    """Runs the command and returns its exit code: 0, or 2 for wrong input."""
    flags, overrides = _parse(arguments)
    _check(flags)
    from bot_jax.config import load_config

    config = load_config(flags.config, overrides)
    curve = run(config, lowest=flags.lowest, highest=flags.highest, steps=flags.steps)
    if not curve.losses:
        raise InputError(f"The loss is not finite at --lowest {flags.lowest:g}; make it less.")
    with _output_errors(flags.output):
        flags.output.mkdir(parents=True, exist_ok=True)
        write_json(config, curve, flags.output / "rates.json")
        draw(config, curve, flags.output / "rates.png")
    print(f"\n{report(config, curve, flags.highest)}\nWrote {flags.output}/rates.json, rates.png.")
    return 0


if __name__ == "__main__":
    use_huge_pages()
    sys.exit(main())
