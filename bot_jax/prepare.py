"""Writes a folder of images as record files: fewer and larger files, and smaller images.

python -m bot_jax.prepare PHOTOS RECORDS --max-side 512

The images of a split are put in a random order (the same every time) and cut into files of
`--examples-per-file`. They are TFRecord files with the description that tensorflow-datasets reads,
so that other programs can read them too. A file appears under its name when it is complete and was
read again; manifest.json has its checksum. The same command goes on where it was interrupted.
"""

import argparse
import hashlib
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bot_jax.data.sizes import MAX_PIXELS
from bot_jax.errors import InputError, command

_EPILOG = """\
example:
  python -m bot_jax.prepare PHOTOS RECORDS --max-side 512
  python -m bot_jax.main --config configs/photos.py --workdir runs/a \\
      --config.data.source=tfds --config.data.path=RECORDS

PHOTOS has train/CLASS/*.jpg and validation/CLASS/*.jpg, or CLASS/*.jpg, or, with --source list,
lists of files (see configs/default.py). --verify reads what was written and compares checksums.
"""
MANIFEST = "manifest.json"
# Of every data set that is written here, as tensorflow-datasets sees it.
DATA_SET_NAME = "images"
_SEED = 0


def prepare(
    source: Path,
    destination: Path,
    *,
    kind,
    max_side,
    per_file,
    on_bad_image,
    max_pixels=MAX_PIXELS,
    allow_outside=False,
) -> dict:
    """Writes the records that are not there yet, and their description.

    Args:
      source: the folder of images or lists.
      destination: the folder to write.
      kind: "folder" or "list", as `config.data.source`.
      max_side: the longer side that images are shrunk to, in pixels; 0: as they are.
      per_file: examples of a file.
      on_bad_image: "error" or "skip".
      max_pixels: an image that declares more is not decoded, as `config.data.max_image_pixels`.
      allow_outside: whether a list may lead out of its folder, see `data/list_paths.py`.

    Returns:
      The manifest.

    Raises:
      InputError: there are no images, one cannot be decoded, or the folder has other records.
    """
    from bot_jax.progress import format_duration

    splits = _open_splits(source, kind, allow_outside)
    classes = next(iter(splits.values())).class_names
    manifest = {
        "options": {"max_side": max_side, "examples_per_file": per_file, "bad": on_bad_image},
        "classes": list(classes),
        "splits": {name: _digest(split) for name, split in splits.items()},
        "files": {},
    }
    destination.mkdir(parents=True, exist_ok=True)
    manifest["files"] = _files_of_before(destination, manifest)
    plan = [
        (name, number, rows)
        for name, split in splits.items()
        for number, rows in enumerate(_rows_of_files(split.num_examples, per_file))
    ]
    numbers = {name: sum(each[0] == name for each in plan) for name in splits}
    began, written = time.perf_counter(), 0
    for i, (name, number, rows) in enumerate(plan, start=1):
        file = f"{DATA_SET_NAME}-{name}.tfrecord-{number:05}-of-{numbers[name]:05}"
        entry = manifest["files"].get(file)
        if entry and _size(destination / file) == entry["bytes"]:
            continue
        manifest["files"][file] = _write_file(
            destination / file, splits[name], rows, max_side, on_bad_image, max_pixels
        )
        _write_manifest(destination, manifest)
        written += 1
        left = (time.perf_counter() - began) / written * (len(plan) - i)
        print(f"{i}/{len(plan)} files  left {format_duration(left)}  {file}", flush=True)
    _write_description(destination, manifest)
    return manifest


def verify(destination: Path) -> int:
    """Compares every file with its checksum; returns the number of files.

    Raises:
      InputError: there is no manifest, or a file is missing or differs.
    """
    manifest = _read_manifest(destination)
    if not manifest:
        raise InputError(f"{destination} has no {MANIFEST}: nothing was prepared there.")
    wrong = []
    for i, (file, entry) in enumerate(sorted(manifest["files"].items()), start=1):
        path = destination / file
        if not path.exists():
            wrong.append(f"{file} is missing")
        elif _sha256(path) != entry["sha256"]:
            wrong.append(f"{file} differs from its checksum")
        if i % 20 == 0:
            print(f"{i}/{len(manifest['files'])} files", flush=True)
    if wrong:
        raise InputError(
            f"{destination}: {'; '.join(wrong[:5])}{' ...' if len(wrong) > 5 else ''}. Remove what "
            "differs and run the command without --verify: it writes what is missing."
        )
    return len(manifest["files"])


def _open_splits(source: Path, kind: str, allow_outside: bool) -> dict:
    """Split -> `Source`, of all splits that there are."""
    from ml_collections import ConfigDict

    from bot_jax.data import folder, list_file

    config = ConfigDict({"path": str(source), "options": {}})
    if kind == "list":
        config.options.allow_outside = allow_outside
    if not source.is_dir():
        raise InputError(f"{source} is not a folder.")
    make = {"folder": folder.make, "list": list_file.make}[kind]
    splits, reasons = {}, []
    for name in folder.SPLIT_FOLDERS:
        try:
            splits[name] = make(config, name)
        except InputError as error:
            reasons.append(str(error))
    if not splits:
        raise InputError(reasons[0])
    return splits


def _digest(split) -> str:
    """A checksum of the names and labels of a split, in order."""
    digest = hashlib.sha256()
    for i in range(split.num_examples):
        digest.update(os.fsencode(split.describe(i)) + b"\0")
    return digest.hexdigest()


def _rows_of_files(num_examples: int, per_file: int) -> list:
    """The examples of each file: a permutation, cut into pieces."""
    import numpy as np

    order = np.random.default_rng(_SEED).permutation(num_examples)
    return [order[i : i + per_file] for i in range(0, num_examples, per_file)]


def _write_file(path: Path, split, rows, max_side, on_bad_image, max_pixels) -> dict:
    """Writes one file, reads it again, and gives it its name. Returns its entry in the manifest."""
    from bot_jax.data.shrink import shrink
    from bot_jax.data.tensorflow_cpu import tf

    def example(row):
        try:
            encoded, label = (x.numpy() for x in split.read(int(row)))
        except tf.errors.OpError as error:
            return b"", error.message.split("; ")[-1]
        image, reason = shrink(encoded, max_side, max_pixels)
        if reason:
            return b"", reason
        name = os.fsencode(split.describe(int(row)).rsplit("/", 1)[-1])
        feature = {
            "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image])),
            "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
            "file_name": tf.train.Feature(bytes_list=tf.train.BytesList(value=[name])),
        }
        features = tf.train.Features(feature=feature)
        return tf.train.Example(features=features).SerializeToString(), ""

    temporary = path.with_name(path.name + ".tmp")
    skipped, written = [], []
    try:
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            records = list(threads.map(example, rows))
        with tf.io.TFRecordWriter(str(temporary)) as writer:
            for row, (record, reason) in zip(rows, records, strict=True):
                if reason:
                    message = f"{split.describe(int(row))} cannot be read: {reason}"
                    if on_bad_image == "error":
                        raise InputError(f"{message}. Remove it, or use --on-bad-image skip.")
                    skipped.append(message)
                else:
                    writer.write(record)
                    written.append(hashlib.sha256(record).digest())
        # The file's own checksums are compared in reading.
        found = tf.data.TFRecordDataset(str(temporary)).as_numpy_iterator()
        if [hashlib.sha256(record).digest() for record in found] != written:
            raise InputError(f"{path} was not written as it should be. Is the disk in order?")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    entry = {"examples": len(written), "bytes": _size(path), "sha256": _sha256(path)}
    return entry | ({"skipped": skipped} if skipped else {})


def _files_of_before(destination: Path, manifest: dict) -> dict:
    before = _read_manifest(destination)
    if not before:
        return {}
    for part in ("options", "classes", "splits"):
        if before[part] != manifest[part]:
            raise InputError(
                f"{destination} has records of other {'images' if part == 'splits' else part}. "
                "Use another folder, or remove that one."
            )
    return before["files"]


def _read_manifest(destination: Path) -> dict | None:
    file = destination / MANIFEST
    return json.loads(file.read_text()) if file.exists() else None


def _write_manifest(destination: Path, manifest: dict) -> None:
    from bot_jax.workdir import write_atomically

    write_atomically(destination / MANIFEST, json.dumps(manifest, indent=1) + "\n")


def _write_description(destination: Path, manifest: dict) -> None:
    """What tensorflow-datasets wants to know."""
    import tensorflow_datasets as tfds

    template = tfds.core.ShardedFileTemplate(
        data_dir=destination, dataset_name=DATA_SET_NAME, filetype_suffix="tfrecord"
    )
    infos = []
    for name in manifest["splits"]:
        files = [e for f, e in sorted(manifest["files"].items()) if f"-{name}.tfrecord-" in f]
        infos.append(
            tfds.core.SplitInfo(
                name=name,
                shard_lengths=[entry["examples"] for entry in files],
                num_bytes=sum(entry["bytes"] for entry in files),
                filename_template=template.replace(split=name),
            )
        )
    features = {
        "image": tfds.features.Image(),
        "label": tfds.features.ClassLabel(names=manifest["classes"]),
        "file_name": tfds.features.Text(),
    }
    tfds.folder_dataset.write_metadata(
        data_dir=destination,
        features=tfds.features.FeaturesDict(features),
        split_infos=infos,
        filename_template=template,
        check_data=False,
        supervised_keys=("image", "label"),
    )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else -1


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _parse(arguments):
    parser = argparse.ArgumentParser(
        prog="python -m bot_jax.prepare",
        description="Writes a folder of images as record files that train faster.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("source", metavar="SRC", type=Path, help="folder of images or lists")
    parser.add_argument("destination", metavar="DST", type=Path, help="folder for the records")
    parser.add_argument("--source", dest="kind", choices=("folder", "list"), default="folder")
    parser.add_argument(
        "--max-side", type=int, default=0, metavar="PIXELS", help="0: images stay as they are (0)"
    )
    parser.add_argument("--examples-per-file", type=int, default=1024, metavar="N", help="(1024)")
    parser.add_argument("--on-bad-image", choices=("error", "skip"), default="error")
    parser.add_argument(
        "--max-image-pixels",
        type=int,
        default=MAX_PIXELS,
        metavar="N",
        help=f"an image that declares more is not decoded ({MAX_PIXELS})",
    )
    parser.add_argument(
        "--allow-outside", action="store_true", help="let lists lead out of their folder"
    )
    parser.add_argument("--verify", action="store_true", help="compare DST with its checksums")
    flags = parser.parse_args(arguments)
    if flags.max_side < 0 or flags.examples_per_file < 1:
        parser.error("--max-side must be at least 0 and --examples-per-file at least 1")
    if not 1 <= flags.max_image_pixels <= MAX_PIXELS:
        parser.error(f"--max-image-pixels must be from 1 to {MAX_PIXELS}")
    return flags


@command
def main(arguments=None) -> int:
    """Runs the command and returns its exit code."""
    flags = _parse(arguments)
    from bot_jax.data.tensorflow_cpu import os_errors

    try:
        if flags.verify:
            print(f"{verify(flags.destination)} files are as they were written.")
            return 0
        with os_errors():
            manifest = prepare(
                flags.source,
                flags.destination,
                kind=flags.kind,
                max_side=flags.max_side,
                per_file=flags.examples_per_file,
                on_bad_image=flags.on_bad_image,
                max_pixels=flags.max_image_pixels,
                allow_outside=flags.allow_outside,
            )
    except OSError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Stopped. The same command goes on from here.", file=sys.stderr)
        return 130
    entries = manifest["files"].values()
    examples, size = (sum(entry[name] for entry in entries) for name in ("examples", "bytes"))
    skipped = sum(len(entry.get("skipped", ())) for entry in entries)
    print(
        f"{examples:,} examples in {len(entries)} files, {size / 1e6:,.1f} MB; {skipped} skipped."
    )
    path = flags.destination
    print(f"Train with --config.data.source=tfds --config.data.path={path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
