"""Augmentations by name: `config.augment` says which are on, and with which options.

Of one image::

    @register_augmentation("blur", on="pixels")
    def blur(images, keys, *, radius=1.0):
        ...

takes float32 images [b, H, W, 3] and typed JAX keys [b], one an image, and returns images of the
same shape. On "pixels" they are in 0..255, before normalisation, and have to stay there; on
"normalized" they have mean 0 and standard deviation 1, and 0 is the mean colour. Of a batch-norm
group of images::

    @register_batch_augmentation("swap")
    def swap(images, rows, *, alpha=1.0):
        ...

takes the images and a `mixing.Rows`, and returns the new images and a function that mixes anything
else that has a row for each example, such as targets, as the images are.

The keyword arguments are the options, ``config.augment.blur.radius``, each with a default of the
right type. Every augmentation also has the option `probability`, that an image (of one of a batch:
a group) is changed at all; one that has it as an argument of its own applies it itself. Presets are
named sets of values, ``config.augment.random_erasing.preset``, over which single options go. An
argument `epoch` is not an option: it is given the epoch, a float32 scalar. A value out of range is
refused with an `InputError`.
"""

import dataclasses
import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from bot_jax.errors import InputError, check_choice, suggest
from bot_jax.options import check_options, keyword_defaults
from bot_jax.rng import purpose_of, sample_keys

STAGES = ("pixels", "normalized")

# In this order they are applied, and those of other packages after them.
BUILT_IN = tuple(
    f"bot_jax.augment.{file}"
    for file in (
        "horizontal_flip",
        "pad_and_crop",
        "auto_augment",
        "rand_augment",
        "rotation",
        "color_jitter",
        "color_shift",
        "pca_noise",
        "cutout",
        "random_erasing",
        "hide_and_seek",
        "grid_mask",
        "mixup",
        "cutmix",
        "ricap",
    )
)

_AUGMENTATIONS: dict[str, "Augmentation"] = {}


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """What is known of an augmentation.

    Attributes:
      name: what `config.augment` calls it.
      function: see the top of this file.
      on: "pixels" or "normalized" for one of an image, "batch" for one of a group of images.
      options: name -> default, `probability` among them.
      takes: the options and other arguments that the function has.
      presets: name -> options that differ from the defaults. Where there are some, `preset` is one
        of the options, and the first is its default.
    """

    name: str
    function: Callable
    on: str
    options: dict[str, Any]
    takes: frozenset[str]
    presets: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)

    @property
    def summary(self) -> str:
        """The first line of its docstring."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]


def register_augmentation(
    name: str, *, on: str, probability: float = 1.0, presets: Mapping[str, dict] | None = None
) -> Callable:
    """Decorator that makes an augmentation of one image known by `name`.

    Args:
      name: unique, as the paper calls it, in lower case with underscores.
      on: "pixels" or "normalized", what it is applied to.
      probability: default of the option of that name.
      presets: see `Augmentation`.

    Raises:
      InputError: the name is taken, or `on` is not known.
    """
    check_choice(f"on= of augmentation {name!r}", on, STAGES)
    return _register(name, on, probability, presets)


def register_batch_augmentation(
    name: str, *, presets: Mapping[str, dict] | None = None
) -> Callable:
    """Decorator that makes an augmentation of a group of images known by `name`.

    Args:
      name: unique, as the paper calls it.
      presets: see `Augmentation`.

    Raises:
      InputError: the name is taken.
    """
    return _register(name, "batch", 1.0, presets)


def _register(name, on, probability, presets):
    def register(function):
        if name in _AUGMENTATIONS:
            raise InputError(f"An augmentation {name!r} is registered twice. Choose another name.")
        takes = keyword_defaults(function)
        options = {"probability": probability} | takes
        if presets:
            options["preset"] = next(iter(presets))
        options.pop("epoch", None)
        known = Augmentation(name, function, on, options, frozenset(takes), presets or {})
        _AUGMENTATIONS[name] = known
        return function

    return register


def augmentations() -> dict[str, Augmentation]:
    """All augmentations by name, in the order in which they are applied."""
    for module in BUILT_IN:
        importlib.import_module(module)

    # A file may have been imported, and have registered its own, before all others.
    def place(augmentation):
        module = augmentation.function.__module__
        return BUILT_IN.index(module) if module in BUILT_IN else len(BUILT_IN)

    return {a.name: a for a in sorted(_AUGMENTATIONS.values(), key=place)}


def chosen(config_augment, on: str) -> list[tuple[Augmentation, dict]]:
    """The augmentations of a configuration with all their options, in the order of application.

    Args:
      config_augment: `config.augment`.
      on: "pixels", "normalized" or "batch".

    Raises:
      InputError: an augmentation or an option is not known, or has a value of a wrong type.
    """
    known = augmentations()
    for name in config_augment:
        if name not in known:
            raise InputError(
                f"config.augment.{name}: there is no such augmentation.{suggest(name, known)} "
                "`python -m bot_jax.augment` lists all."
            )
    return [
        (augmentation, _options(augmentation, config_augment[name]))
        for name, augmentation in known.items()
        if name in config_augment and augmentation.on == on
    ]


def _options(augmentation, given):
    where = f"config.augment.{augmentation.name}"
    defaults = augmentation.options
    if augmentation.presets:
        preset = given.get("preset", defaults["preset"])
        check_choice(f"{where}.preset", preset, augmentation.presets)
        defaults = defaults | augmentation.presets[preset]
    options = check_options(where, defaults, given)
    if not 0 <= options["probability"] <= 1:
        raise InputError(f"{where}.probability = {options['probability']} must be from 0 to 1.")
    return options


def augment_images(images, config_augment, on: str, *, seed, sample_ids, epoch):
    """Applies the augmentations of one image of a configuration that are on pixels, or others.

    Args:
      images: uint8 or float32 [b, H, W, 3].
      config_augment: `config.augment`.
      on: "pixels" or "normalized".
      seed: the run's seed.
      sample_ids: uint32 [b].
      epoch: float32 scalar, steps done over the steps of an epoch.

    Returns:
      float32 [b, H, W, 3].

    Raises:
      InputError: an augmentation or an option is not known, or a value is wrong.
    """
    import jax
    import jax.numpy as jnp

    images = images.astype(jnp.float32)
    for augmentation, options in chosen(config_augment, on):
        keys = sample_keys(seed, purpose_of(augmentation.name), sample_ids)
        given = {name: value for name, value in options.items() if name in augmentation.takes}
        if "epoch" in augmentation.takes:
            given["epoch"] = epoch
        changed = augmentation.function(images, keys, **given)
        if "probability" not in augmentation.takes and options["probability"] < 1:
            coins = sample_keys(seed, purpose_of(f"{augmentation.name} probability"), sample_ids)
            happens = jax.vmap(jax.random.uniform)(coins) < options["probability"]
            changed = jnp.where(happens[:, None, None, None], changed, images)
        images = changed
    return images
