"""Writes the weights of a run as one file that says which model they are of.

python -m bot_jax.export runs/teacher teacher.safetensors

The file has the arrays of {"params", "batch_stats"} by their paths ("params/head/kernel"), in
float32, and in its header, under "bot_jax", JSON with the model's name and options, the classes,
the size of the images that it was trained on, and for how many steps. Where a run averages its
weights (ema_decay) it is the average. Reading such a file executes nothing.
"""

import argparse
import dataclasses
import json
import os
import sys
from pathlib import Path

from bot_jax.errors import InputError

_HEADER = "bot_jax"
_EPILOG = """\
example:
  python -m bot_jax.export runs/teacher teacher.safetensors

The file can be the teacher of another run: --config.distillation.teacher=teacher.safetensors
or what one starts with: --config.pretrained=teacher.safetensors
"""


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


def write_weights(file: Path, weights: Weights) -> None:
    """Writes a file of weights, at once."""
    import numpy as np
    from flax.traverse_util import flatten_dict
    from safetensors.numpy import save_file

    arrays = {
        name: np.ascontiguousarray(array)
        for name, array in flatten_dict(weights.variables, sep="/").items()
    }
    facts = {
        field.name: getattr(weights, field.name)
        for field in dataclasses.fields(weights)
        if field.name != "variables"
    }
    temporary = file.with_name(file.name + ".tmp")
    save_file(arrays, temporary, metadata={_HEADER: json.dumps(facts)})
    os.replace(temporary, file)


def read_weights(file: Path) -> Weights:
    """Reads a file of `write_weights`.

    Raises:
      InputError: it cannot be read, or is not such a file.
    """
    from flax.traverse_util import unflatten_dict
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as opened:
            header = (opened.metadata() or {}).get(_HEADER)
            arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise InputError(f"{file} cannot be read as weights: {error}") from error
    if header is None:
        raise InputError(
            f"{file} does not say which model its weights are of; "
            "`python -m bot_jax.export` writes files that do."
        )
    try:
        facts = json.loads(header)
        facts["class_names"] = tuple(facts["class_names"])
        return Weights(**facts, variables=unflatten_dict(arrays, sep="/"))
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise InputError(f"{file} has a header that is not that of an export: {error}") from error


def run_weights(directory: Path) -> Weights:
    """The weights of a finished run.

    Raises:
      InputError: there is no run, it is not finished, or its model is not known here.
    """
    import jax

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
    like = variable_shapes(model, size)
    layout = parallel.evaluation_layout(1)
    with Checkpoints(directory / "checkpoints", read_only=True) as checkpoints:
        step = results.weights_step(result)
        variables = jax.device_get(checkpoints.restore_variables(like, layout, step))
    return Weights(name, options, class_names, size, result["step"], variables)


def load_weights(path: Path) -> Weights:
    """The weights of a finished run, where `path` is a directory, or of a file.

    Raises:
      InputError: they cannot be read.
    """
    return run_weights(path) if path.is_dir() else read_weights(path)


def checksum(variables: dict) -> str:
    """SHA-256 of all arrays, in the order of their names."""
    import hashlib

    import jax
    import numpy as np

    digest = hashlib.sha256()
    for array in jax.tree.leaves(variables):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def main(arguments=None) -> int:
    """Runs the command and returns its exit code: 0, or 2 for wrong input."""
    parser = argparse.ArgumentParser(
        prog="python -m bot_jax.export",
        description="Writes the weights of a run as one file that says which model they are of.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="--workdir of the run")
    parser.add_argument("file", type=Path, metavar="FILE", help="NAME.safetensors to write")
    flags = parser.parse_args(arguments)
    from safetensors import SafetensorError

    try:
        if flags.file.suffix != ".safetensors":
            raise InputError(f"{flags.file}: the name must end in .safetensors.")
        os.environ["JAX_PLATFORMS"] = "cpu"  # nothing is computed
        weights = run_weights(flags.run)
        write_weights(flags.file, weights)
    except InputError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    except (OSError, SafetensorError) as error:
        print(f"Error: {flags.file} cannot be written: {error}", file=sys.stderr)
        return 2
    size = flags.file.stat().st_size / 1e6
    print(
        f"Wrote {flags.file}: {weights.model}, {len(weights.class_names):,} classes, {size:.1f} MB."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
