"""Refuses options of augmentations that are out of range, in words."""

from bot_jax.errors import InputError


def check_number(option: str, value, low, high=None, *, shown=None) -> None:
    """Raises `InputError` unless the number `value` of config.augment.OPTION is in [low, high].

    Args:
      option: such as "cutout.length".
      value: of the right type already, see `registry.chosen`.
      low: least number.
      high: largest number; None: there is none.
      shown: the whole value of the option, where `value` is one of several numbers.
    """
    if not (value >= low and (high is None or value <= high)):
        bound = f"at least {low:g}" if high is None else f"from {low:g} to {high:g}"
        given = value if shown is None else f"{shown}: {value}"
        raise InputError(f"config.augment.{option} = {given} must be {bound}.")


def check_numbers(option: str, values, kind: type, low, high=None) -> None:
    """Raises `InputError` unless `values` are numbers of type `kind`, each in [low, high].

    Args:
      option: such as "hide_and_seek.sizes".
      values: a tuple.
      kind: int, or float, for which whole numbers will do.
      low, high: see `check_number`.
    """
    kinds = (int, float) if kind is float else (kind,)
    for value in values:
        if type(value) not in kinds:
            raise InputError(
                f"config.augment.{option} = {values}: {value!r} is not of type {kind.__name__}."
            )
        check_number(option, value, low, high, shown=values)


def check_interval(option: str, interval, kind: type, low, high=None) -> None:
    """Raises `InputError` unless `interval` is (least, largest), both in [low, high].

    The arguments are those of `check_numbers`.
    """
    if len(interval) != 2:
        raise InputError(
            f"config.augment.{option} = {interval} must be two numbers, the least and the largest."
        )
    check_numbers(option, interval, kind, low, high)
    if interval[0] > interval[1]:
        raise InputError(
            f"config.augment.{option} = {interval} must have the least number first: "
            f"{interval[::-1]}."
        )


def check_color(option: str, color) -> None:
    """Raises `InputError` unless `color` is (red, green, blue), each in 0..255."""
    if len(color) != 3:
        raise InputError(
            f"config.augment.{option} = {color} must be three numbers: red, green and blue."
        )
    check_numbers(option, color, float, 0, 255)
