"""Shows what a model will really see: a sheet of images, a row for each augmentation.

python -m bot_jax.show --config configs/photos.py --output sheet.png --config.data.path=DIR

The images are a few of the training split. The rows: as an evaluation sees them, the crops, each
augmentation of the configuration alone, on the same crops, and all as the training step makes it,
which is the very function of the training step (`batch.prepare_batch`). Alone, an augmentation is
applied to every image, whatever its `probability`; the last row is by chance as in training.
"""

import argparse
import dataclasses
import sys
from pathlib import Path

from bot_jax.config import split_overrides
from bot_jax.errors import InputError, command

_EPILOG = """\
examples:
  python -m bot_jax.show --config configs/photos.py --output sheet.png --config.data.path=DIR
  python -m bot_jax.show --config configs/photos.py --output all.png --all \\
      --config.data.path=DIR

Alone, an augmentation is applied to every image, whatever its probability; the last row is by
chance, as in training. Below an image is its class, and where images are mixed the share of each.
They are mixed within fours, or all together where their number is no multiple of four. Label
smoothing is not shown.
"""


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of the sheet.

    Attributes:
      title, details: what it shows, and its options, a line each.
      images: uint8 [n, H, W, 3].
      captions: below each image.
    """

    title: str
    details: list[str]
    images: object
    captions: list[str]


def describe_label(shares, class_names) -> str:
    """Class names with their shares, the largest first: "cat 0.70 + dog 0.30".

    Args:
      shares: float32 [K], not negative.
      class_names: of these K classes.
    """
    shown = [i for i in shares.argsort(kind="stable")[::-1] if shares[i] >= 0.005]
    if not shown:
        return "(cannot be read)"
    if shares[shown[0]] > 0.995:
        return class_names[shown[0]]
    return " + ".join(f"{class_names[i]} {shares[i]:.2f}" for i in shown)


def make_rows(config, num_images: int, *, every: bool = False, epoch: float | None = None):
    """Makes the rows of the sheet.

    Args:
      config: the whole configuration.
      num_images: columns.
      every: show every augmentation there is, with its defaults, and no last row.
      epoch: of training, since some augmentations become stronger; default half of the run.

    Returns:
      List of `Row`.

    Raises:
      InputError: a value or a file of the user's is wrong.
    """
    from bot_jax.augment.registry import augmentations, chosen
    from bot_jax.training_images import load_images, prepare_images

    known = augmentations()
    alone = {name: {} for name in known} if every else config.augment.to_dict()
    for on in ("pixels", "normalized", "batch"):
        chosen(alone, on)  # refuses what is wrong
    shown = [a for a in known.values() if a.name in alone]
    view, batch, setup = load_images(config, num_images)
    epoch = config.epochs / 2 if epoch is None else epoch
    names = setup.source.class_names

    def row(title, details, augment):
        images, captions = prepare_images(config, setup, batch, augment, epoch)
        return Row(title, details, images, [describe_label(c, names) for c in captions])

    rows = first_rows(config.data, view, batch, names)
    for augmentation in shown:
        details = describe_options(augmentation, alone[augmentation.name])
        certain = alone[augmentation.name] | {"probability": 1.0}
        try:
            rows.append(row(augmentation.name, details, {augmentation.name: certain}))
        except InputError as error:
            if not every:
                raise
            print(f"Left out: {error}")  # its defaults are for larger images
    if not every:
        details = ["what the model is trained on", f"at epoch {epoch:g} of {config.epochs:g}"]
        rows.append(row("all", details, config.augment.to_dict()))
    return rows


def first_rows(config_data, view, batch, class_names) -> list[Row]:
    """The images as they are, and the crops of training; arguments: see `training_images.py`."""
    labels = view["label"]
    captions = [class_names[label] if label >= 0 else "(cannot be read)" for label in labels]
    whole = Row("as they are", ["what an evaluation sees"], view["image"], captions)
    if config_data.train_crop == "center":
        return [whole, Row("center crop", ["of training too"], batch["image"], captions)]
    area, aspect_ratio = _text(config_data.crop_area), _text(config_data.crop_aspect_ratio)
    details = [f"area {area}", f"aspect ratio {aspect_ratio}"]
    return [whole, Row("random resized crop", details, batch["image"], captions)]


def describe_options(augmentation, given) -> list[str]:
    """A line for each option of an `Augmentation`, with its default where `given` has no value."""
    return [f"{name} {_text(value)}" for name, value in (augmentation.options | given).items()]


def _text(value):
    if isinstance(value, tuple | list):
        return " to ".join(map(_text, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


_MARGIN, _LINE, _LABEL, _SMALLEST = 6, 15, 210, 112


def draw_sheet(rows: list[Row]):
    """Draws the rows, and returns a Pillow image.

    A column is as wide as an image (a small one is enlarged by a whole number, without smoothing)
    and a margin of 6 pixels; left of them are 210 pixels for the titles, below them the captions.
    """
    from PIL import Image, ImageDraw, ImageFont

    size = rows[0].images.shape[1]
    factor = -(-_SMALLEST // size)
    side, (title_font, font) = size * factor, (ImageFont.load_default(n) for n in (14, 12))
    captions = [[_wrap(caption, font, side) for caption in row.captions] for row in rows]
    heights = [
        _MARGIN + max(side + _LINE * max(map(len, below)), _LINE * (1 + len(row.details)))
        for row, below in zip(rows, captions, strict=True)
    ]
    width = _LABEL + len(rows[0].images) * (side + _MARGIN)
    sheet = Image.new("RGB", (width, sum(heights) + _MARGIN), "white")
    draw, top = ImageDraw.Draw(sheet), _MARGIN
    for row, below, height in zip(rows, captions, heights, strict=True):
        draw.text((_MARGIN, top), _fit(row.title, title_font, _LABEL), "black", title_font)
        for i, line in enumerate(row.details, 1):
            place = (_MARGIN, top + 2 + i * _LINE)
            draw.text(place, _fit(line, font, _LABEL), "dimgray", font)
        for i, (image, lines) in enumerate(zip(row.images, below, strict=True)):
            left = _LABEL + i * (side + _MARGIN)
            tile = Image.fromarray(image).resize((side, side), Image.Resampling.NEAREST)
            sheet.paste(tile, (left, top))
            for j, line in enumerate(lines):
                draw.text((left, top + side + j * _LINE), line, "black", font)
        top += height
    return sheet


def _wrap(text, font, width):
    """The lines of a text, broken before a "+" where it is wider than `width` pixels."""
    lines = []
    for i, part in enumerate(text.split(" + ")):
        part = f"+ {part}" if i else part
        if lines and font.getlength(f"{lines[-1]} {part}") <= width - _MARGIN:
            lines[-1] += f" {part}"
        else:
            lines.append(part)
    return [_fit(line, font, width) for line in lines]


def _fit(text, font, width):
    """The text, cut where it is wider than `width` pixels."""
    if font.getlength(text) <= width - _MARGIN:
        return text
    while text and font.getlength(text + "...") > width - _MARGIN:
        text = text[:-1]
    return text + "..."


def _parse(arguments):
    parser = argparse.ArgumentParser(
        prog="python -m bot_jax.show",
        description="Shows what a model will really see: a row of images for each augmentation.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config", required=True, metavar="FILE.py[:ROW]", help="configuration file and its row"
    )
    parser.add_argument("--output", required=True, type=Path, metavar="PICTURE", help="to write")
    parser.add_argument("--images", type=int, default=8, metavar="N", help="columns (8)")
    parser.add_argument("--epoch", type=float, metavar="E", help="of training (half of the run)")
    parser.add_argument(
        "--all", action="store_true", help="every augmentation there is, with its defaults"
    )
    flags, rest = parser.parse_known_args(arguments)
    return flags, split_overrides(parser, rest)


def _check(flags):
    from PIL import Image

    if flags.images < 2:
        raise InputError(f"--images {flags.images} must be at least 2.")
    if flags.epoch is not None and not 0 <= flags.epoch < 1e6:
        raise InputError(f"--epoch {flags.epoch:g} must be at least 0.")
    if flags.output.suffix.lower() not in Image.registered_extensions():
        raise InputError(f"--output {flags.output}: the name must end as a picture's, in .png.")


@command
def main(arguments=None) -> int:
    """Runs the command and returns its exit code: 0, or 2 for wrong input."""
    flags, overrides = _parse(arguments)
    _check(flags)
    from bot_jax.config import load_config

    config = load_config(flags.config, overrides)
    rows = make_rows(config, flags.images, every=flags.all, epoch=flags.epoch)
    sheet = draw_sheet(rows)
    try:
        sheet.save(flags.output)
    except (OSError, ValueError) as error:
        raise InputError(f"--output {flags.output} cannot be written: {error}") from error
    print(f"Wrote {flags.output}: {len(rows)} rows of {flags.images} images.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
