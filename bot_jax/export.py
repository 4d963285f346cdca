"""Writes a trained model as a file: its weights, or a program that runs without this package.

python -m bot_jax.export runs/teacher teacher.safetensors

The file has the arrays of {"params", "batch_stats"} by their paths ("params/head/kernel"), in
float32, and in its header, under "bot_jax", JSON with the model's name and options, the classes,
the size of the images that it was trained on, and for how many steps. Where a run averages its
weights (ema_decay) it is the average.

Reading such a file executes nothing: the format (safetensors) has no code, unlike pickle, and what
it declares is checked against its size. So a file may come from a stranger. The directory of a run
may not: its config.json can name code to import.

A file that ends in .zip has the program as well, see artifact.py; --format saved_model writes a
folder for TensorFlow, see saved_model.py.
"""

import argparse
import dataclasses
import json
import os
import sys
from pathlib import Path

from bot_jax.errors import InputError, command

_HEADER = "bot_jax"
_PARTS = ("params", "batch_stats")
# Far above any image classifier. A file can be larger than what is stored of it, full of holes.
MAX_BYTES = 8 * 2**30
_EPILOG = """\
examples:
  python -m bot_jax.export runs/teacher teacher.safetensors      weights
  python -m bot_jax.export runs/teacher teacher.zip              program and weights
  python -m bot_jax.export teacher.safetensors teacher.zip
  python -m bot_jax.export runs/teacher teacher --format saved_model

Weights can be the teacher of another run: --config.distillation.teacher=teacher.safetensors
or what one starts with: --config.pretrained=teacher.safetensors

A .zip runs without bot_jax, with JAX alone, and a SavedModel with TensorFlow alone; docs/export.md
says how. The other options are for these two.
"""
# How the name of a file ends -> its format. A SavedModel is a folder.
_FORMATS = {".safetensors": "weights", ".zip": "stablehlo"}
_SAVED_MODEL = "saved_model"


@dataclasses.dataclass(frozen=True)
class Weights:
    """A trained model.

    Attributes:
      model, options: its name in the registry, and keyword arguments.
      class_names: in the order of its logits.
      image_size: side of the images it was trained on, in pixels.
      step: the steps it was trained for.
      variables: {"params", "batch_stats"}, NumPy arrays.
    """

    model: str
    options: dict
    class_names: tuple[str, ...]
    image_size: int
    step: int
    variables: dict


def weights_bytes(weights: Weights) -> bytes:
    """What a file of weights holds."""
    import numpy as np
    from flax.traverse_util import flatten_dict
    from safetensors.numpy import save

    arrays = {
        name: np.ascontiguousarray(array)
        for name, array in flatten_dict(weights.variables, sep="/").items()
    }
    facts = {
        field.name: getattr(weights, field.name)
        for field in dataclasses.fields(weights)
        if field.name != "variables"
    }
    return save(arrays, metadata={_HEADER: json.dumps(facts)})


def write_weights(file: Path, weights: Weights) -> None:
    """Writes a file of weights, at once."""
    temporary = file.with_name(file.name + ".tmp")
    temporary.write_bytes(weights_bytes(weights))
    os.replace(temporary, file)


def is_own_file(file: Path) -> bool:
    """Whether a file is one of `write_weights`, or a damaged one of which that cannot be told."""
    from safetensors import SafetensorError, safe_open

    if file.suffix != ".safetensors":
        return False
    try:
        with safe_open(file, framework="numpy") as opened:
            return _HEADER in (opened.metadata() or {})
    except (SafetensorError, OSError):
        return True


def read_weights(file: Path) -> Weights:
    """Reads a file of `write_weights`.

    Raises:
      InputError: it cannot be read, or is not such a file.
    """
    from safetensors import safe_open

    try:
        if file.stat().st_size > MAX_BYTES:
            raise ValueError(f"it has more than {MAX_BYTES:,} bytes")
        with safe_open(file, framework="numpy") as opened:
            header = (opened.metadata() or {}).get(_HEADER)
            arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except Exception as error:  # safetensors raises several kinds for a broken file
        raise InputError(
            f"{file} cannot be read as weights: {error}. `python -m bot_jax.convert` makes a file "
            "that can be out of another framework's, also .pth and .npz."
        ) from error
    if header is None:
        raise InputError(
            f"{file} does not say which model its weights are of. `python -m bot_jax.export` "
            "writes files that do, `python -m bot_jax.convert` makes them of another framework's."
        )
    try:
        return Weights(**_facts(header), variables=_variables(arrays))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{file} has a header that is not that of an export: {error}") from error


def _facts(header: str) -> dict:
    """What the header says, of the right types."""
    facts = json.loads(header)
    kinds = {"model": str, "options": dict, "class_names": list, "image_size": int, "step": int}
    for name, kind in kinds.items():
        if type(facts[name]) is not kind:
            raise TypeError(f"{name} is no {kind.__name__}")
    if not all(type(name) is str for name in facts["class_names"]):
        raise TypeError("class_names are no texts")
    if facts["image_size"] < 1 or facts["step"] < 0:
        raise ValueError("image_size is at least 1, and step at least 0")
    return facts | {"class_names": tuple(facts["class_names"])}


def _variables(arrays: dict) -> dict:
    """The arrays as a tree."""
    variables = {part: {} for part in _PARTS}
    for name, array in sorted(arrays.items()):
        *path, last = name.split("/")
        if str(array.dtype) != "float32" or not path or path[0] not in _PARTS:
            raise ValueError(f"the array {name[:100]!r} of {array.dtype} is none of a model")
        module = variables
        for part in path:
            module = module.setdefault(part, {})
            if not isinstance(module, dict):
                raise ValueError(f"the array {name[:100]!r} is inside of another one")
        module[last] = array
    return variables


def run_weights(directory: Path) -> Weights:
    """The weights of a finished run.

    Raises:
      InputError: there is no run, it is not finished, or its model is not known here.
    """
    import jax
    import numpy as np

    from bot_jax import parallel, results
    from bot_jax.checkpoint import Checkpoints
    from bot_jax.extensions import import_extensions
    from bot_jax.models.registry import get_model
    from bot_jax.state import variable_shapes
    from bot_jax.workdir import read_class_names, read_config

    config, result = read_config(directory), results.read(directory)
    if result is None:
        raise InputError(f"The run in {directory} is not finished; train it to its end first.")
    import_extensions(config.get("imports", ""))  # older runs have no such field
    class_names = read_class_names(directory)
    name, options = config["model"]["name"], config["model"]["options"]
    size = config["data"]["image_size"]
    model = get_model(name, num_classes=len(class_names), **options)
    layout, step = parallel.evaluation_layout(1), results.weights_step(result)
    checkpoints = Checkpoints(directory / "checkpoints", read_only=True)
    with jax.enable_x64(config["precision"]["compute"] == "float64"), checkpoints:
        like = variable_shapes(model, size)
        variables = jax.device_get(checkpoints.restore_variables(like, layout, step))
    variables = jax.tree.map(lambda x: np.asarray(x, np.float32), variables)
    return Weights(name, options, class_names, size, result["step"], variables)


def load_weights(path: Path) -> Weights:
    """The weights of a finished run, where `path` is a directory, of a file, or in an artifact.

    Raises:
      InputError: they cannot be read.
    """
    if not path.exists():
        raise InputError(f"{path} is not the --workdir of a run, nor a file: it is not there.")
    if path.is_dir():
        return run_weights(path)
    from bot_jax.artifact import is_artifact, read_artifact_weights

    return read_artifact_weights(path) if is_artifact(path) else read_weights(path)


def checksum(variables: dict) -> str:
    """SHA-256 of all arrays, in the order of their names."""
    import hashlib

    import jax
    import numpy as np

    digest = hashlib.sha256()
    for array in jax.tree.leaves(variables):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _format(flags) -> str:
    by_name = _FORMATS.get(flags.file.suffix)
    if flags.format == _SAVED_MODEL and by_name is None:
        return _SAVED_MODEL
    if flags.format == _SAVED_MODEL or by_name is None:
        raise InputError(
            f"{flags.file}: the name must end in .safetensors, for weights, or .zip, for a "
            f"program; with --format {_SAVED_MODEL} in neither, since that is a folder."
        )
    return by_name


def _write(flags, form: str) -> str:
    """Writes it, and returns what is in it."""
    changes = {
        name: value
        for name, value in vars(flags).items()
        if value is not None and name not in ("source", "file", "format")
    }
    if form == "weights":
        if changes:
            name = min(changes).replace("_", "-")
            raise InputError(f"--{name} is for programs; a file of weights has nothing of it.")
        weights = load_weights(flags.source)
        write_weights(flags.file, weights)
        return f"{weights.model}, {len(weights.class_names):,} classes"
    from bot_jax.classifier import load_classifier

    classifier = load_classifier(flags.source, **changes)
    if form == _SAVED_MODEL:
        from bot_jax.saved_model import write_saved_model as write
    else:
        from bot_jax.artifact import write_artifact as write
    write(flags.file, classifier)
    view = classifier.preprocessing
    return (
        f"{classifier.model}, {len(classifier.class_names):,} classes, {classifier.compute}, "
        f"images of {view.image_size} pixels cut from {view.eval_resize} ({view.interpolation})"
    )


def _parse(arguments):
    parser = argparse.ArgumentParser(
        prog="python -m bot_jax.export",
        description="Writes a trained model as a file: its weights, or a program as well.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("source", type=Path, metavar="RUN", help="--workdir of the run, or a file of weights")
    add("file", type=Path, metavar="FILE", help="NAME.safetensors, NAME.zip, or a folder to write")
    add("--format", choices=(_SAVED_MODEL,), help="write a folder for TensorFlow")
    add("--compute", choices=("float32", "bfloat16", "float16"), help="dtype (the run's)")
    add("--image-size", type=int, metavar="N", help="side of the images, in pixels (the run's)")
    add(
        "--eval-resize",
        type=int,
        metavar="N",
        help="shorter side before the centre crop (the run's; for weights image size / 0.875)",
    )
    interpolations, usual = ("bilinear", "bicubic"), "(the run's; for weights bilinear)"
    add("--interpolation", choices=interpolations, help=usual)
    add(
        "--antialias",
        action=argparse.BooleanOptionalAction,
        help="average over pixels where an image shrinks (as the run; for weights no)",
    )
    return parser.parse_args(arguments)


@command
def main(arguments=None) -> int:
    """Runs the command and returns its exit code: 0, or 2 for wrong input."""
    flags = _parse(arguments)
    try:
        form = _format(flags)
        os.environ["JAX_PLATFORMS"] = "cpu"  # nothing is computed
        what = _write(flags, form)
    except OSError as error:
        print(f"Error: {flags.file} cannot be written: {error}", file=sys.stderr)
        return 2
    files = flags.file.rglob("*") if flags.file.is_dir() else [flags.file]
    print(f"Wrote {flags.file}: {what}, {sum(f.stat().st_size for f in files) / 1e6:.1f} MB.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
