"""Says what is on images, by one model or by several together.

python -m bot_jax.predict photo.jpg more_photos --model runs/photos

The model is the directory of a finished run, a file of weights, or the .zip that
`python -m bot_jax.export` writes. An image is seen as in the evaluation of the run, so that on the
images of a split as many are right as bot_jax.evaluate counts. A file of weights does not say how
its images are prepared: see classifier.py.

Of several models (--ensemble) the probabilities are averaged: p = mean over models of softmax.
They have the same classes, in the same order, and each sees the images in its own way.

A model with a background class says "none of these" where the probability of no known class
reaches the threshold of its run (rejection.py). An ensemble does not: each threshold was found for
one model.
"""

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from bot_jax.errors import InputError, command

# Images of a batch. Fewer are computed as they are.
BATCH = 32
_EPILOG = """\
examples:
  python -m bot_jax.predict photo.jpg more_photos --model runs/photos
  python -m bot_jax.predict more_photos --model photos.zip --top 3 --json > predicted.jsonl
  python -m bot_jax.predict more_photos --ensemble runs/a runs/b runs/c.zip

IMAGES are files, or folders in which and below which images are looked for. With --json there is
a line for each image: {"image", "class", "probability", "top": [{"class", "probability"}, ...]},
and {"image", "error"} for one that cannot be read. "rejected" is there where the run of the model
has a threshold, and then "class" is null where none of the known classes reaches it.

Exit codes: 0 all images predicted, 1 some cannot be read (the others are predicted), 2 wrong input.
"""


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What is said of an image.

    Attributes:
      image: its path.
      error: why there is no prediction, or "".
      top: (class, probability) of the most probable classes, the first one first.
      answer: the class that it is taken for; None where all known ones are rejected.
      probability: of the answer, or of the most probable known class that is rejected.
    """

    image: str
    error: str = ""
    top: tuple[tuple[str, float], ...] = ()
    answer: str | None = None
    probability: float = 0.0


def find_images(paths: list[Path]) -> list[str]:
    """The files, and the images in and below the folders, each once.

    Raises:
      InputError: a path is not there, or a folder has no images.
    """
    from bot_jax.data.folder import images_below

    found = []
    for path in map(os.fspath, paths):
        if os.path.isdir(path):
            found += [os.path.join(path, name) for name in images_below(path, "IMAGES")]
        elif os.path.exists(path):
            found.append(path)
        else:
            raise InputError(f"IMAGES = {path}: there is no such file or folder.")
    return list(dict.fromkeys(found))


def predict(models: list, images: list[str], top: int = 5) -> Iterator[Prediction]:
    """Predicts images in their order, batch by batch.

    Args:
      models: `classifier.Classifier`s, whose classes are the same.
      images: paths.
      top: classes to name, at most as many as there are.

    Yields:
      A `Prediction` for each image.
    """
    import numpy as np

    from bot_jax.data.folder import from_files

    names = models[0].class_names
    rejection = models[0].rejection if len(models) == 1 else None
    batch_size = min(BATCH, len(images))
    source = from_files("images", images, [0] * len(images), names)
    for batches in zip(*(_results(m, source, batch_size) for m in models), strict=True):
        probabilities = np.mean([own for _, _, own in batches], axis=0)
        seen = np.all([own for _, own, _ in batches], axis=0)
        for row, index in enumerate(batches[0][0]):
            if index < 0:  # the last batch is filled up
                continue
            image = images[index]
            if not seen[row]:
                yield Prediction(image, _why_unreadable(image, models))
            elif not np.isfinite(probabilities[row]).all():
                yield Prediction(image, "the model's result is not a number")
            else:
                yield _conclude(image, probabilities[row], names, top, rejection)


def _results(model, source, batch_size):
    """Of each batch: indices in the source, which images were read, probabilities float64 [b, K].

    In float64 they rank as the logits do.
    """
    import jax
    import numpy as np

    from bot_jax.compiler_options import compiler_options
    from bot_jax.data.pipeline import eval_batches
    from bot_jax.preprocessing import data_config

    platform, has_float16 = jax.devices()[0].platform, model.compute == "float16"
    options = compiler_options(platform, has_float16=has_float16)
    compute = jax.jit(model.apply, compiler_options=options or None)
    weights, rows = jax.device_put(model.weights), np.arange(batch_size)
    config_data = data_config(model.preprocessing)
    for batch in eval_batches(source, config_data, batch_size=batch_size, rows=rows):
        logits = np.asarray(compute(weights, batch["image"])["logits"], np.float64)
        with np.errstate(invalid="ignore"):
            exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
        probabilities = exponentials / exponentials.sum(axis=-1, keepdims=True)
        yield batch["index"], batch["label"] >= 0, probabilities


def _why_unreadable(image, models) -> str:
    from bot_jax.data.decode import decode_with_pillow

    try:
        encoded = Path(image).read_bytes()
    except OSError as error:
        return error.strerror
    for view in (model.preprocessing for model in models):
        _, reason = decode_with_pillow(encoded, view.apply_exif_orientation, view.max_image_pixels)
        if reason:
            return reason
    return "it cannot be decoded"


def _conclude(image, probabilities, names, top, rejection) -> Prediction:
    order = (-probabilities).argsort(kind="stable")
    answer, best = names[order[0]], probabilities[order[0]]
    if rejection is not None:
        known = int(probabilities[:-1].argmax())  # the last class is the background
        best = probabilities[known]
        answer = names[known] if best >= rejection["threshold"] else None
    named = tuple((names[i], float(probabilities[i])) for i in order[:top])
    return Prediction(image, "", named, answer, float(best))


def json_line(prediction: Prediction, thresholded: bool) -> str:
    """A line about an image, see `--help`; `thresholded`: whether the model can reject it."""
    if prediction.error:
        return json.dumps({"image": prediction.image, "error": prediction.error})
    found = {
        "image": prediction.image,
        "class": prediction.answer,
        "probability": round(prediction.probability, 6),
    }
    if thresholded:
        found["rejected"] = prediction.answer is None
    found["top"] = [
        {"class": name, "probability": round(value, 6)} for name, value in prediction.top
    ]
    return json.dumps(found)


def table(predictions: list[Prediction]) -> str:
    """An aligned table, a line an image: the answer, its probability in percent, the next ones."""
    from rich.cells import cell_len  # names may be in an alphabet of wide letters

    lines = [("image", "class", "%", "then")]
    for one in predictions:
        if one.error:
            lines.append((one.image, "-", "", f"cannot be read: {one.error}"))
            continue
        others = [(name, value) for name, value in one.top if name != one.answer]
        then = ", ".join(f"{name} {100 * value:.2f}" for name, value in others)
        answer = "none of these" if one.answer is None else one.answer
        lines.append((one.image, answer, f"{100 * one.probability:.2f}", then))
    # A name may have characters that are no text, or that move the cursor.
    lines = [["".join(c if c.isprintable() else "?" for c in x) for x in line] for line in lines]
    widths = [max(cell_len(line[i]) for line in lines) for i in range(3)]

    def pad(i, text):
        space = " " * (widths[i] - cell_len(text)) if i < 3 else ""
        return space + text if i == 2 else text + space

    return "\n".join("  ".join(pad(i, x) for i, x in enumerate(line)).rstrip() for line in lines)


def _parse(arguments):
    parser = argparse.ArgumentParser(
        prog="python -m bot_jax.predict",
        description="Says what is on images, by one model or by several together.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("images", type=Path, nargs="+", metavar="IMAGES", help="files and folders")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "--model",
        type=Path,
        metavar="M",
        help="--workdir of a finished run, a file of weights, or the .zip of an export",
    )
    which.add_argument(
        "--ensemble", type=Path, nargs="+", metavar="M", help="several, of which the mean counts"
    )
    parser.add_argument("--top", type=int, default=5, metavar="K", help="classes to name (5)")
    parser.add_argument("--json", action="store_true", help="a line of JSON for each image")
    flags = parser.parse_args(arguments)
    if flags.top < 1:
        parser.error(f"--top {flags.top} must be at least 1")
    return flags


def _print_notes(paths, models) -> None:
    """Says on standard error what a person should know before trusting the predictions."""
    for path, model in zip(paths, models, strict=True):
        if path.suffix == ".safetensors":
            view = model.preprocessing
            print(
                f"{path} does not say how its images are prepared. Taken: the shorter side becomes "
                f"{view.eval_resize} pixels ({view.interpolation}), of which the central "
                f"{view.image_size} are seen. For anything else make a .zip first: "
                "`python -m bot_jax.export --help`.",
                file=sys.stderr,
            )
    if len(models) > 1 and any(model.rejection for model in models):
        print(
            "Nothing is rejected: a threshold is of one model, not of an ensemble.", file=sys.stderr
        )


def _print_predictions(flags, models, images) -> int:
    """Prints what is predicted, and returns how many images cannot be read."""
    if flags.json:
        thresholded, unreadable = len(models) == 1 and models[0].rejection is not None, 0
        for prediction in predict(models, images, flags.top):
            print(json_line(prediction, thresholded), flush=True)
            unreadable += bool(prediction.error)
        return unreadable
    from bot_jax.progress import ImageProgress

    predictions = []
    with ImageProgress("predicted", len(images), sys.stderr) as progress:
        for prediction in predict(models, images, flags.top):
            predictions.append(prediction)
            progress.at(len(predictions))
    print(table(predictions))
    return sum(bool(prediction.error) for prediction in predictions)


@command
def main(arguments=None) -> int:
    """Runs the command and returns its exit code, see `--help`."""
    flags = _parse(arguments)
    from bot_jax.classifier import load_models

    images = find_images(flags.images)
    paths = flags.ensemble or [flags.model]
    models = load_models(paths)
    _print_notes(paths, models)
    unreadable = _print_predictions(flags, models, images)
    if unreadable:
        print(f"{unreadable:,} of {len(images):,} images cannot be read.", file=sys.stderr)
    return 1 if unreadable else 0


if __name__ == "__main__":
    sys.exit(main())
