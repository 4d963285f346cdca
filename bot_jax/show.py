"""Shows what a model will really see: a sheet of images, a row for each augmentation.

python -m bot_jax.show --config configs/photos.py --output sheet.png --config.data.path=DIR

The images are a few of the training split. The rows: as an evaluation sees them, the crops, each
augmentation of the configuration alone, on the same crops, and all as the training step makes it,
which is the very function of the training step (`batch.prepare_batch`). Alone, an augmentation is
applied to every image, whatever its `probability`; the last row is by chance as in training.
"""

import argparse
import copy
import dataclasses
import sys
from pathlib import Path

from bot_jax.config import split_overrides
from bot_jax.errors import InputError

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

    known = augmentations()
    alone = {name: {} for name in known} if every else config.augment.to_dict()
    for on in ("pixels", "normalized", "batch"):
        chosen(alone, on)  # refuses what is wrong
    shown = [a for a in known.values() if a.name in alone]
    view, batch, setup = _load(config, num_images)
    epoch = config.epochs / 2 if epoch is None else epoch
    names = setup.source.class_names

    def row(title, details, augment):
        images, captions = _prepare(config, setup, batch, augment, epoch)
        return Row(title, details, images, [describe_label(c, names) for c in captions])

    captions = [names[label] if label >= 0 else "(cannot be read)" for label in view["label"]]
    data = config.data
    if data.train_crop == "center":
        crop = Row("center crop", ["of training too"], batch["image"], captions)
    else:
        details = [f"area {_text(data.crop_area)}", f"aspect ratio {_text(data.crop_aspect_ratio)}"]
        crop = Row("random resized crop", details, batch["image"], captions)
    rows = [Row("as they are", ["what an evaluation sees"], view["image"], captions), crop]
    for augmentation in shown:
        options = augmentation.options | alone[augmentation.name]
        details = [f"{name} {_text(value)}" for name, value in options.items()]
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


def _text(value):
    if isinstance(value, tuple | list):
        return " to ".join(map(_text, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _load(config, num_images):
    """The images as an evaluation sees them, as training crops them, and the parts of a run."""
    import jax
    import numpy as np
    from ml_collections import ConfigDict

    from bot_jax.data.pipeline import eval_batches, train_batches
    from bot_jax.data.sample import sample_source
    from bot_jax.data.source import make_source
    from bot_jax.setup import make_setup

    whole = make_source(config.data, config.data.train_split)
    if whole.num_examples < num_images:
        raise InputError(f"--images {num_images} are more than {whole.name} has.")
    source = sample_source(whole, num_images)
    # A run of one small batch on one device, of which the length in epochs stays.
    small = ConfigDict(copy.deepcopy(config.to_dict()))
    small.batch_size, small.accumulation = num_images, 1
    small.data.balance, small.data.unlabelled, small.data.train_examples = "none", "", 0
    small.distillation.teacher = ""  # which sees the same images
    small.batch_norm.group_size = 4 if num_images % 4 == 0 else num_images
    setup = make_setup(small, sources=(source, source), devices=jax.devices()[:1], trained=False)
    rows = np.arange(num_images)
    sizes = {"batch_size": num_images, "rows": rows}
    (view,) = eval_batches(source, config.data, **sizes)
    batch = next(train_batches(source, config.data, seed=config.seed, start_step=0, **sizes))
    view, batch = (
        {name: value[np.argsort(x["index"])] for name, value in x.items()} for x in (view, batch)
    )
    steps_per_epoch = max(whole.num_examples // config.batch_size, 1)
    return view, batch, dataclasses.replace(setup, steps_per_epoch=steps_per_epoch)


def _prepare(config, setup, batch, augment, epoch):
    """uint8 images as the training step makes them, and their unsmoothed targets [n, K]."""
    import jax
    import numpy as np
    from ml_collections import ConfigDict

    from bot_jax.augment.normalize import MEAN, STANDARD_DEVIATION
    from bot_jax.batch import prepare_batch

    config = ConfigDict(copy.deepcopy(config.to_dict()))
    config.augment = ConfigDict(augment)
    step = round(epoch * setup.steps_per_epoch)
    setup = dataclasses.replace(setup, mixing_steps=step + 1)
    arrays = {name: batch[name] for name in ("image", "label", "sample_id")}
    prepare = jax.jit(lambda arrays: prepare_batch(config, setup, arrays, step))
    images, _, credit, _ = jax.device_get(prepare(arrays))
    images = images * np.float32(STANDARD_DEVIATION) + np.float32(MEAN)
    return np.rint(images).clip(0, 255).astype(np.uint8), credit


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


def main(arguments=None) -> int:
    """Runs the command and returns its exit code: 0, or 2 for wrong input."""
    flags, overrides = _parse(arguments)
    try:
        _check(flags)
        from bot_jax.config import load_config

        config = load_config(flags.config, overrides)
        rows = make_rows(config, flags.images, every=flags.all, epoch=flags.epoch)
        sheet = draw_sheet(rows)
        try:
            sheet.save(flags.output)
        except (OSError, ValueError) as error:
            raise InputError(f"--output {flags.output} cannot be written: {error}") from error
    except InputError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 130
    print(f"Wrote {flags.output}: {len(rows)} rows of {flags.images} images.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
