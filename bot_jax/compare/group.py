"""What is compared: results of runs that differ in nothing but their seed."""

import dataclasses
import math
import statistics

from bot_jax.errors import InputError

OURS = "bot_jax"


@dataclasses.dataclass(frozen=True)
class Group:
    """Runs that differ in nothing but their seed. What is not known is None.

    Attributes:
      framework, model, recipe: who trained what, and how, in words.
      changed: fields of the configuration that are not as the recipe has them.
      data: of the evaluation, data set and split.
      examples: of it.
      epochs: of the training.
      image_size: pixels.
      crop: image size / shorter side before the crop.
      interpolation: of the resize, with "antialiased" where it is.
      label_smoothing, label_smoothing_form: epsilon, and "uniform" or "paper", see
        losses/label_smoothing.py.
      top1, top5: percent, one a run.
      seed: one a run, or none where they are not known.
      source: where the numbers are from.
    """

    framework: str
    model: str
    recipe: str = ""
    changed: tuple[str, ...] = ()
    data: str | None = None
    examples: int | None = None
    epochs: float | None = None
    image_size: int | None = None
    crop: float | None = None
    interpolation: str | None = None
    label_smoothing: float | None = None
    label_smoothing_form: str | None = None
    top1: tuple[float, ...] = ()
    top5: tuple[float, ...] = ()
    seed: tuple[int, ...] = ()
    source: str = ""

    @property
    def name(self) -> str:
        """The framework, where it is not this one, the recipe or the model, and what is changed."""
        parts = [self.framework if self.framework != OURS else "", self.recipe or self.model]
        name = " ".join(part for part in parts if part)
        return f"{name} (other {in_words(self.changed)})" if self.changed else name


def check(group: Group, where: str) -> Group:
    """The same group.

    Raises:
      InputError: something in it is no number of a result, or cannot be shown.
    """
    texts = {name: getattr(group, name) for name in ("framework", "model", "recipe", "data")}
    for name, value in texts.items():
        if value is not None and not (type(value) is str and value.isprintable()):
            raise InputError(f"{where}: {name} = {value!r} has characters that cannot be shown.")
    for name in ("examples", "epochs", "image_size", "crop"):
        value = getattr(group, name)
        if value is not None and not (_is_number(value) and value > 0):
            raise InputError(f"{where}: {name} = {value!r} is no number above 0.")
    smoothing = group.label_smoothing
    if smoothing is not None and not (_is_number(smoothing) and 0 <= smoothing < 1):
        raise InputError(f"{where}: label_smoothing = {smoothing!r} is not from 0 to below 1.")
    for name in ("top1", "top5"):
        values = getattr(group, name)
        if not all(_is_number(value) and 0 <= value <= 100 for value in values):
            raise InputError(f"{where}: {name} = {values!r} has something that is no percent.")
    if not all(type(value) is int for value in group.seed):
        raise InputError(f"{where}: seed = {group.seed!r} is no whole number.")
    return group


def _is_number(value):
    return type(value) in (int, float) and abs(value) <= 1e12 and math.isfinite(value)


def in_words(fields: tuple[str, ...], most: int = 3) -> str:
    """Names of fields, so many of them."""
    more = len(fields) - most
    return ", ".join(fields[:most]) + (f" and {more} more" if more > 0 else "")


def mean_and_spread(values) -> tuple[float | None, float | None]:
    """Mean and standard deviation (n - 1); None where there are too few."""
    mean = statistics.mean(values) if values else None
    return mean, statistics.stdev(values) if len(values) > 1 else None
