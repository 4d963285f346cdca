"""A dry run: everything that a run is made of, built and compiled at full size, without data.

python -m bot_jax.main --config configs/table6.py:resnet50_d_mixup --config.dry_run=true
"""

import jax

from bot_jax.cost import training_flop
from bot_jax.data.absent import absent_source
from bot_jax.data.source import SOURCES
from bot_jax.describe import describe_model, describe_run
from bot_jax.errors import InputError, check_choice
from bot_jax.models.count import count
from bot_jax.optim.feedback import initial_feedback, rate_factor
from bot_jax.optim.schedule import warmup_steps
from bot_jax.progress import print_table
from bot_jax.setup import Setup, make_setup
from bot_jax.shapes import eval_step_and_shapes, train_step_and_shapes


def dry_run(config) -> dict:
    """Builds model, teacher, optimiser and schedule, compiles both steps, and prints what they are.

    Nothing is trained and nothing is written. Data that are not here count as many examples and
    classes as they are known to have, or else as the synthetic source has; a teacher that is not
    here is its model.

    Returns:
      The printed numbers: parameters, macs, decayed, undecayed, learning_rates (by step),
      steps, images, and of the compiled steps train_bytes and eval_bytes, each with "arguments"
      and "temporary".

    Raises:
      InputError: a value does not fit.
    """
    setup = make_setup(config, sources=_sources(config), trained=False)
    print_table("Model", describe_model(setup))
    print_table("Run", describe_run(config, setup))
    rates = learning_rates(config, setup)
    print_table(
        "Learning rate",
        [(f"step {step:,}", f"{rate:.6g}  {what}") for step, (what, rate) in rates.items()],
    )
    decayed, undecayed = (
        sum(size for size, decays in _sizes(setup) if decays == wanted) for wanted in (True, False)
    )
    print("\nCompiling the training step and the evaluation step ...", flush=True)
    train_bytes, eval_bytes = (
        _memory(step.lower(*arguments).compile())
        for step, arguments in (
            train_step_and_shapes(config, setup),
            eval_step_and_shapes(config, setup),
        )
    )
    images = setup.total_steps * config.batch_size
    teacher = setup.teacher
    teacher_macs = count(teacher.model, config.data.image_size).macs if teacher else 0
    flop = training_flop(setup.counts.macs, teacher_macs, images)
    print_table(
        f"Compiled for {setup.layout.mesh.size} x {setup.layout.mesh.devices.flat[0].device_kind}",
        [
            ("training step", _describe_memory(train_bytes)),
            ("evaluation step", _describe_memory(eval_bytes)),
            ("decayed", f"{decayed:,} parameters"),
            ("not decayed", f"{undecayed:,} parameters"),
            ("steps", f"{setup.total_steps:,}"),
            ("images", f"{images:,}"),
            ("training compute", f"{flop / 1e18:.4g} exaFLOP"),
        ],
    )
    return {
        "parameters": setup.counts.parameters,
        "macs": setup.counts.macs,
        "decayed": decayed,
        "undecayed": undecayed,
        "learning_rates": {step: rate for step, (_, rate) in rates.items()},
        "steps": setup.total_steps,
        "images": images,
        "train_bytes": train_bytes,
        "eval_bytes": eval_bytes,
    }


def _sources(config):
    data = config.data
    check_choice("config.data.source", data.source, SOURCES)
    splits = (data.train_split, data.eval_split)
    try:
        return tuple(absent_source(data, split) for split in splits)
    except InputError as error:
        print(
            f"{error}\nWithout it, {data.num_synthetic:,} examples of {data.num_classes:,} classes "
            "stand for the data."
        )
        sizes = (data.num_synthetic, data.num_classes)
        return tuple(absent_source(data, split, *sizes) for split in splits)


def _sizes(setup):
    sizes = (x.size for x in jax.tree.leaves(setup.state_shapes.params))
    return zip(sizes, jax.tree.leaves(setup.decay_mask), strict=True)


def learning_rates(config, setup: Setup) -> dict[int, tuple[str, float]]:
    """Step, counted from 0 -> what it is, and its learning rate."""
    warmup = warmup_steps(config.schedule, setup.steps_per_epoch)
    steps = {
        0: "the first",
        max(warmup - 1, 0): "the last of the warmup" if warmup else "the first",
        setup.total_steps // 2: "half-way",
        setup.total_steps - 1: "the last",
    }
    rates = {step: (what, float(setup.schedule(step))) for step, what in sorted(steps.items())}
    if config.schedule.warmup_until_error:  # after which the rate is the schedule's
        factor = float(rate_factor(initial_feedback(config.schedule), config.schedule))
        rates[0] = (f"{rates[0][0]}, in the warmup", factor * rates[0][1])
    return rates


def _memory(compiled):
    memory = compiled.memory_analysis()
    return {
        "arguments": memory.argument_size_in_bytes,
        "temporary": memory.temp_size_in_bytes,
    }


def _describe_memory(sizes):
    return (
        f"{sizes['temporary'] / 1e9:.2f} GB of activations and other temporaries, "
        f"{sizes['arguments'] / 1e9:.2f} GB of weights, state and batch"
    )
