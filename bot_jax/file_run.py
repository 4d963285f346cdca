"""A finished run whose data are image files: which files, and what it makes of others."""

import dataclasses
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from bot_jax import parallel
from bot_jax.data.background import BACKGROUND
from bot_jax.data.folder import from_files
from bot_jax.data.label_lists import labelled_before
from bot_jax.data.perceptual_hash import difference_hash
from bot_jax.data.pipeline import eval_batches
from bot_jax.data.sizes import MAX_PIXELS
from bot_jax.data.source import make_source
from bot_jax.errors import InputError
from bot_jax.eval_step import make_eval_step, zero_totals
from bot_jax.export import Weights, run_weights
from bot_jax.models.registry import get_model
from bot_jax.progress import ImageProgress
from bot_jax.workdir import read_config

# What `predict` says of an image of none of the known classes.
BACKGROUND_LABEL = -2


@dataclasses.dataclass(frozen=True)
class FileRun:
    """What a run knows.

    Attributes:
      config: its configuration.
      weights: `export.Weights`.
      class_names: without the background.
      train: (path, label) of its labelled training images, without those of an earlier round.
      validation: (path, label) of its evaluation images.
    """

    config: ConfigDict
    weights: Weights
    class_names: tuple[str, ...]
    train: list[tuple[str, int]]
    validation: list[tuple[str, int]]


def read_run(directory: Path) -> FileRun:
    """Opens a finished run and its data.

    Raises:
      InputError: there is no finished run, its data are no files, or they are not there.
    """
    config = ConfigDict(read_config(directory))
    if config.data.source not in ("folder", "list"):
        raise InputError(
            f"The run in {directory} has config.data.source = {config.data.source!r}. Images can "
            "be labelled for runs on a folder or on lists, whose images are files."
        )
    weights = run_weights(directory)
    known = config.copy_and_resolve_references()
    known.data.background = ""
    train, validation = (
        make_source(known.data, split)
        for split in (config.data.train_split, config.data.eval_split)
    )
    names = train.class_names
    if weights.class_names != ((*names, BACKGROUND) if config.data.get("background") else names):
        raise InputError(
            f"{train.name} does not have the classes that the run in {directory} was trained on. "
            "The data have changed; train again."
        )
    earlier = labelled_before(config.data.path)
    return FileRun(
        config,
        weights,
        names,
        [(path, label) for path, label in _files(train) if os.path.realpath(path) not in earlier],
        _files(validation),
    )


def _files(source):
    return [(source.describe(i), int(label)) for i, label in enumerate(source.labels)]


def predict(run: FileRun, paths: list[str]) -> dict[str, np.ndarray]:
    """What a run makes of images, shown as in its evaluation.

    Returns:
      For each image: label (int, the most probable class; -1 where the image cannot be decoded, -2
      where it is the background) and confidence (float32, its probability).
    """
    weights, config_data = run.weights, run.config.data.copy_and_resolve_references()
    config_data.on_bad_image = "skip"
    layout = parallel.evaluation_layout(run.config.eval_batch_size)
    model = get_model(weights.model, num_classes=len(weights.class_names), **weights.options)
    eval_step = make_eval_step(model, layout, len(run.class_names))
    variables = parallel.replicate(weights.variables, layout)
    totals = parallel.replicate(zero_totals(), layout)
    source = from_files("images", paths, [0] * len(paths), run.class_names)
    rows = parallel.rows_of_this_process(layout)
    found = {"label": np.full(len(paths), -1), "confidence": np.zeros(len(paths), np.float32)}
    with ImageProgress("predicted", len(paths)) as progress:
        for batch in eval_batches(source, config_data, batch_size=layout.batch_size, rows=rows):
            on_device = {name: batch[name] for name in ("image", "label")}
            totals, examples = eval_step(totals, parallel.put_batch(on_device, layout), variables)
            examples, seen = jax.device_get(examples), batch["label"] >= 0
            is_known = examples["predicted"] == examples["known"]
            labels = np.where(is_known, examples["known"], BACKGROUND_LABEL)
            found["label"][batch["index"][seen]] = labels[seen]
            found["confidence"][batch["index"][seen]] = examples["confidence"][seen]
            progress.at(int(batch["index"].max()) + 1)
    return found


def hash_files(paths: list[str], what: str, run: FileRun) -> list[int | None]:
    """`perceptual_hash.difference_hash` of each file, several at a time."""
    max_pixels = run.config.data.get(
        "max_image_pixels", MAX_PIXELS
    )  # older runs have no such field
    hashes = []
    with ThreadPoolExecutor(os.cpu_count()) as threads, ImageProgress(what, len(paths)) as progress:
        for image_hash in threads.map(lambda path: difference_hash(path, max_pixels), paths):
            hashes.append(image_hash)
            progress.at(len(hashes))
    return hashes
