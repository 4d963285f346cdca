"""What a run is, as the tables that it begins with."""

import jax

from bot_jax.augment.registry import augmentations
from bot_jax.data.balance import describe_balance
from bot_jax.pretrained import describe_transfer
from bot_jax.setup import Setup


def describe_model(setup: Setup) -> list[tuple[str, str]]:
    """A line for each part of the model: its parameters, and how many of them decay."""
    sizes: dict[str, list[int]] = {}
    for module, params in setup.state_shapes.params.items():
        part = module.split("_")[0]
        decays = jax.tree.leaves(setup.decay_mask[module])
        row = sizes.setdefault(part, [0, 0])
        for leaf, decayed in zip(jax.tree.leaves(params), decays, strict=True):
            row[0] += leaf.size
            row[1] += leaf.size * decayed
    return [
        (part, f"{total:>12,} parameters, {decayed:>12,} of them decayed")
        for part, (total, decayed) in sorted(sizes.items(), key=lambda item: _depth(item[0]))
    ]


def _depth(part):
    return (part == "head", part != "stem", part)


def _describe_augmentations(config_augment):
    names = []
    for name in augmentations():  # in the order of application
        if name in config_augment:
            options = ", ".join(f"{k}={v}" for k, v in config_augment[name].items())
            names.append(f"{name}({options})" if options else name)
    return ", ".join(names) or "none"


def _describe_teacher(config, setup):
    if not setup.teacher:
        return []
    wanted, teacher = config.distillation, setup.teacher.identity
    text = (
        f"{teacher['model']} after {teacher['step']:,} steps, {wanted.compute}, {wanted.form}, "
        f"temperature {wanted.temperature:g}, weights {wanted.hard_weight:g} (labels) and "
        f"{wanted.soft_weight:g} (teacher)"
    )
    return [("teacher", text)]


def _describe_optimizer(optimizer):
    options = "".join(f", {name}={value}" for name, value in optimizer.options.items())
    steps, alpha = optimizer.lookahead_steps, optimizer.lookahead_alpha
    lookahead = f", Lookahead of {steps} steps and alpha {alpha:g}" if steps else ""
    return f"{optimizer.name}{options}{lookahead}"


def _describe_warmup(schedule):
    if schedule.warmup_until_error:
        return (
            f"{schedule.warmup_factor:g} of it until the training error is below "
            f"{schedule.warmup_until_error:.0%}"
        )
    kind = "" if schedule.warmup == "linear" else f"{schedule.warmup} "
    return f"{schedule.warmup_epochs:g} epochs of {kind}warmup"


def describe_run(config, setup: Setup) -> list[tuple[str, str]]:
    """The facts on which a comparison with other runs depends."""
    layout, optimizer = setup.layout, config.optimizer
    groups = layout.batch_size // layout.group_size
    names: dict[bool, set[str]] = {True: set(), False: set()}
    flat, _ = jax.tree_util.tree_flatten_with_path(setup.decay_mask)
    for path, decayed in flat:
        names[decayed].add(path[-1].key)
    others = names[False] - names[True]  # a frozen kernel does not decay, and has a row of its own
    undecayed = f"; none on every {', '.join(sorted(others))}" if others else ""
    return [
        (
            "model",
            f"{config.model.name}, {setup.counts.parameters:,} parameters, "
            f"{setup.counts.macs:,} MACs",
        ),
        ("training data", f"{setup.source.name}, {setup.source.num_examples:,} examples"),
        ("evaluation data", f"{setup.eval_source.name}, {setup.eval_source.num_examples:,}"),
        ("classes", f"{len(setup.source.class_names):,}"),
        *describe_balance(config, setup.balance),
        ("augmentations", _describe_augmentations(config.augment)),
        ("devices", f"{layout.mesh.size} x {layout.mesh.devices.flat[0].device_kind}"),
        (
            "global batch",
            f"{layout.batch_size} = {layout.accumulation} micro-batch(es) x {layout.mesh.size} "
            f"device(s) x {layout.micro_batch_size // layout.mesh.size}",
        ),
        ("batch-norm groups", f"{groups} of {layout.group_size} examples"),
        ("length", f"{config.epochs:g} epochs = {setup.total_steps:,} steps"),
        ("optimizer", _describe_optimizer(optimizer)),
        (
            "learning rate",
            f"{setup.peak_learning_rate:g}, {config.schedule.name}, "
            f"{_describe_warmup(config.schedule)}",
        ),
        (
            "weight decay",
            f"{optimizer.weight_decay:g}{f' and L1 {optimizer.l1:g}' if optimizer.l1 else ''} "
            f"on every {', '.join(sorted(names[True]))}{undecayed}",
        ),
        *describe_transfer(config, setup),
        *_describe_teacher(config, setup),
        ("precision", f"{config.precision.compute}, loss scale {config.precision.loss_scale}"),
        ("seed", f"{config.seed}"),
    ]
