"""Builds what a run is made of from its configuration."""

import dataclasses
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from bot_jax import parallel
from bot_jax.augment.mixing import DRAWS
from bot_jax.augment.registry import chosen
from bot_jax.batch import check_augmentations
from bot_jax.data.balance import Balance, balance_classes
from bot_jax.data.pipeline import check_data_options
from bot_jax.data.sample import sample_source
from bot_jax.data.service import check_service
from bot_jax.data.source import Source, make_source
from bot_jax.data.unlabelled import check_unlabelled, with_unlabelled
from bot_jax.errors import InputError, check_choice
from bot_jax.loss_scale import KINDS
from bot_jax.losses import distillation
from bot_jax.losses.label_smoothing import FORMS
from bot_jax.losses.registry import make_loss
from bot_jax.models.count import Counts, count
from bot_jax.models.groups import BatchNormGroups
from bot_jax.models.registry import get_model
from bot_jax.optim.feedback import check_feedback
from bot_jax.optim.freeze import BATCH_NORM, frozen_mask
from bot_jax.optim.layer_rates import layer_factors
from bot_jax.optim.linear_scaling import scaled_learning_rate
from bot_jax.optim.no_bias_decay import decay_mask
from bot_jax.optim.optimizer import make_optimizer
from bot_jax.optim.schedule import make_schedule
from bot_jax.precision import COMPUTE, set_precision
from bot_jax.state import TrainState, create_state, variable_shapes
from bot_jax.teacher import Teacher, make_teacher


@dataclasses.dataclass(frozen=True)
class Setup:
    """The parts of a run.

    Attributes:
      source: the training split, resampled and with unlabelled images where these are asked for.
      labelled_source: the training split before that.
      eval_source: the evaluation split, with the same classes.
      layout: how a batch lies on the devices.
      model: the Flax module.
      teacher: of a distillation, or None.
      optimizer, schedule: see optim/.
      peak_learning_rate: the learning rate after warmup.
      decay_mask: pytree of bool, the parameters that decay.
      initial_state: function that makes the state before the first step, of pretrained arrays where
        it is given some, see `state.create_state`.
      state_shapes: the shapes and dtypes of that state.
      steps_per_epoch, total_steps: in batches.
      mixing_steps: so many steps mix their images, if the run mixes any.
      counts: parameters and MACs of the model, at its input size.
      balance: the sizes of the classes, and the weights of their losses.
    """

    source: Source
    labelled_source: Source
    eval_source: Source
    layout: parallel.Layout
    model: nn.Module
    teacher: Teacher | None
    optimizer: optax.GradientTransformationExtraArgs
    schedule: Callable
    peak_learning_rate: float
    decay_mask: dict
    initial_state: Callable[..., TrainState]
    state_shapes: TrainState
    steps_per_epoch: int
    total_steps: int
    mixing_steps: int
    counts: Counts
    balance: Balance

    @property
    def num_classes(self) -> int:
        """Classes of the data."""
        return len(self.source.class_names)

    @property
    def class_weights(self):
        """Of the losses of each class, float32 [K], or None."""
        return self.balance.weights


def make_setup(
    config, *, devices=None, sources: tuple[Source, Source] | None = None, trained: bool = True
) -> Setup:
    """Builds all parts of a run; reads no image and computes nothing on the device.

    Args:
      config: the whole configuration.
      devices: default all.
      sources: the training and the evaluation split; default those of `config.data`.
      trained: False where nothing will run, and so the weights of a teacher are not needed.

    Raises:
      InputError: the data are not there, or a value does not fit.
    """
    _check_choices(config)
    check_data_options(config.data)
    check_unlabelled(config)
    if trained:
        check_service(config.data)
    layout = parallel.make_layout(
        config.batch_size,
        group_size=config.batch_norm.group_size,
        accumulation=config.accumulation,
        devices=devices,
    )
    source, eval_source = sources or (
        make_source(config.data, config.data.train_split),
        make_source(config.data, config.data.eval_split),
    )
    if config.data.train_examples:
        source = _fewer(source, config.data.train_examples)
    labelled_source = source
    if config.data.unlabelled:
        source = with_unlabelled(source, config.data.unlabelled)
    balance = balance_classes(source, config.data.balance, trained=trained)
    source = balance.source
    _check_data(config, source, eval_source)
    check_augmentations(config, len(source.class_names))
    _check_mixing(config, layout)
    steps_per_epoch = source.num_examples // config.batch_size
    total_steps = round(config.epochs * steps_per_epoch)
    model, counts = make_model(config, len(source.class_names), _batch_norm_groups(config, layout))
    scale = config.batch_size if config.optimizer.linear_scaling else 256
    peak = scaled_learning_rate(config.optimizer.base_learning_rate, scale)
    schedule = make_schedule(
        config.schedule,
        base=config.optimizer.base_learning_rate,
        peak=peak,
        steps_per_epoch=steps_per_epoch,
        epochs=config.epochs,
    )

    def mask(params):
        decays = decay_mask(params, config.optimizer.no_bias_decay)
        frozen = frozen_mask(params, config.freeze.parameters)
        return jax.tree.map(lambda decayed, still: decayed and not still, decays, frozen)

    optimizer = make_optimizer(config.optimizer, mask, _factors(config, model))
    # Compiling random numbers with all optimisations takes a second or more for each parameter;
    # without, the whole of it takes as long. It runs once.
    create = jax.jit(
        lambda seed, pretrained: create_state(config, model, optimizer, seed, pretrained),
        compiler_options={"xla_backend_optimization_level": 0},
    )
    state_shapes = jax.eval_shape(create, config.seed, {})
    return Setup(
        source=source,
        labelled_source=labelled_source,
        eval_source=eval_source,
        layout=layout,
        model=model,
        teacher=make_teacher(config, source.class_names, trained=trained),
        optimizer=optimizer,
        schedule=schedule,
        peak_learning_rate=peak,
        decay_mask=mask(state_shapes.params),
        initial_state=lambda pretrained=None: create(config.seed, pretrained or {}),
        state_shapes=state_shapes,
        steps_per_epoch=steps_per_epoch,
        total_steps=total_steps,
        mixing_steps=total_steps - round(config.mixing.off_epochs * steps_per_epoch),
        counts=counts,
        balance=balance,
    )


def _fewer(source, num_examples):
    if source.read is None:
        raise InputError(
            f"config.data.train_examples = {num_examples} is for data of which any example can be "
            f"read; {source.name} can only be read from its beginning."
        )
    return sample_source(source, num_examples)


def _check_mixing(config, layout):
    names = [augmentation.name for augmentation, _ in chosen(config.augment, "batch")]
    if names and layout.group_size < 2:
        raise InputError(
            f"config.augment.{names[0]} mixes the images of a batch-norm group, and a group of one "
            "has nothing to mix. Make config.batch_norm.group_size larger, or switch it off: "
            f"--config.augment.{names[0]}=off"
        )


def _check_choices(config):
    check_choice("config.precision.loss_scale", config.precision.loss_scale, KINDS)
    check_choice("config.label_smoothing.form", config.label_smoothing.form, FORMS)
    check_choice("config.mixing.draw", config.mixing.draw, DRAWS)
    check_choice("config.distillation.form", config.distillation.form, distillation.FORMS)
    check_feedback(config)
    make_loss(config.loss)  # refuses a wrong name or option
    check_choice("config.freeze.batch_norm", config.freeze.batch_norm, BATCH_NORM)


def _batch_norm_groups(config, layout):
    keeps_statistics = config.freeze.batch_norm == "inference"
    frozen = config.freeze.parameters if keeps_statistics else ""
    return dataclasses.replace(layout.batch_norm_groups, frozen=frozen)


def _factors(config, model):
    """What updates are multiplied by, or None where all of them are left as they are."""
    rates, pattern = config.optimizer.layer_rates, config.freeze.parameters
    if not rates and not pattern:
        return None
    params = variable_shapes(model, config.data.image_size)["params"]
    return layer_factors(params, rates.to_dict(), frozen_mask(params, pattern))


def _check_data(config, source, eval_source):
    if eval_source.class_names != source.class_names:
        raise InputError(
            f"{source.name} and {eval_source.name} do not have the same classes: "
            f"{_first_difference(source.class_names, eval_source.class_names)}."
        )
    if source.num_examples < config.batch_size:
        raise InputError(
            f"{source.name} has {source.num_examples} examples, fewer than one batch of "
            f"{config.batch_size}. Make config.batch_size smaller."
        )
    if config.epochs * source.num_examples >= 2**32:
        raise InputError(
            f"config.epochs = {config.epochs} of {source.num_examples} examples are more than "
            "the 2**32 sample ids that a run has."
        )
    if not config.schedule.warmup_until_error and config.schedule.warmup_epochs > config.epochs:
        raise InputError(
            f"config.schedule.warmup_epochs = {config.schedule.warmup_epochs} is longer than the "
            f"run, config.epochs = {config.epochs}."
        )
    if config.mixing.off_epochs > config.epochs:
        raise InputError(
            f"config.mixing.off_epochs = {config.mixing.off_epochs} is longer than "
            f"the run, config.epochs = {config.epochs}."
        )
    if len(source.class_names) < 2:
        raise InputError(f"{source.name} has one class only; there is nothing to tell apart.")


def make_model(
    config, num_classes: int, bn_groups: BatchNormGroups | None = None
) -> tuple[nn.Module, Counts]:
    """The model of a configuration, and its size; `bn_groups` matters in training only.

    Raises:
      InputError: there is no such model, or an option does not fit it.
    """
    check_choice("config.precision.compute", config.precision.compute, COMPUTE)
    set_precision(config.precision.compute)
    ours = {
        "num_classes": num_classes,
        "dtype": jnp.dtype(config.precision.compute),
        "bn_groups": bn_groups or BatchNormGroups(),
    }
    options = config.model.options.to_dict()
    for name in ours.keys() & options.keys():
        raise InputError(f"config.model.options.{name} cannot be set: it follows from the rest.")
    model = get_model(config.model.name, **ours, **options)
    size = config.data.image_size
    try:
        return model, count(model, size)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise InputError(
            f"Model {config.model.name} cannot be built for images of {size} pixels with "
            f"config.model.options = {options}: {error}"
        ) from error


def _first_difference(ours, theirs):
    only = sorted(set(ours) ^ set(theirs))
    return f"{only[0]!r} is in one of them only" if only else "their order differs"
