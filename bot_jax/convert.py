"""Weights from other frameworks, and for them.

python -m bot_jax.convert --from timm --model resnet50_d resnet50d.safetensors ours.safetensors
python -m bot_jax.convert --to torchvision runs/mine resnet50.safetensors

What comes in becomes a file as `python -m bot_jax.export` writes it, which names its model: for
--config.pretrained, as a teacher, and for `bot_jax.predict`. What goes out is a run or such a file.
With both, names are only exchanged. Nothing in a file is run, see interop/torch_file.py.
"""

import argparse
import os
import sys
from pathlib import Path

from bot_jax.errors import InputError, command
from bot_jax.interop.names import FRAMEWORKS

OURS = "bot_jax"
_EPILOG = """\
examples:
  python -m bot_jax.convert --from torchvision --model resnet50_b resnet50.pth ours.safetensors
  python -m bot_jax.convert --from timm --model resnet50_d --drop-classifier in.safetensors \\
      for_finetuning.safetensors
  python -m bot_jax.convert --to timm runs/mine resnet50d.safetensors

IN is .safetensors, .npz, .pth, .th, .pt or .bin; of bot_jax the --workdir of a finished run or a
file of `python -m bot_jax.export`. OUT is .safetensors or .npz. docs/weights.md has the details.
"""


def _parse(arguments):
    parser = argparse.ArgumentParser(
        prog="python -m bot_jax.convert",
        description="Weights from other frameworks, and for them.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    formats = (OURS, *FRAMEWORKS)
    parser.add_argument("--from", dest="source", choices=formats, default=OURS, help="(bot_jax)")
    parser.add_argument("--to", dest="target", choices=formats, default=OURS, help="(bot_jax)")
    parser.add_argument("--model", metavar="M", help="our name, see `python -m bot_jax.models`")
    parser.add_argument(
        "--classes", type=Path, metavar="FILE", help="names of the classes, one a line"
    )
    parser.add_argument(
        "--image-size", type=int, metavar="PIXELS", help="trained with (that of the model)"
    )
    parser.add_argument(
        "--drop-classifier", action="store_true", help="leave it out, for other classes"
    )
    parser.add_argument("input", type=Path, metavar="IN")
    parser.add_argument("output", type=Path, metavar="OUT")
    flags = parser.parse_args(arguments)
    if flags.source != OURS and flags.model is None:
        parser.error("--model is missing: what the arrays are of")
    if flags.source == OURS and (flags.model or flags.classes or flags.image_size):
        parser.error("--model, --classes and --image-size are for weights from elsewhere")
    if flags.source == flags.target:
        parser.error("--from and --to are the same")
    return flags


def _read(flags):
    """The weights that are to be written, and names of what was rounded."""
    from bot_jax import export
    from bot_jax.interop.arrays import read_arrays
    from bot_jax.interop.translate import from_theirs
    from bot_jax.models.registry import model_info

    if flags.source == OURS:
        return export.load_weights(flags.input), []
    info = model_info(flags.model)  # first: a wrong name is said before a file is read
    found = from_theirs(read_arrays(flags.input), flags.model, flags.source, flags.drop_classifier)
    weights = export.Weights(
        model=flags.model,
        options=found.options,
        class_names=_class_names(flags.classes, found.num_classes),
        image_size=flags.image_size or info.input_size,
        step=0,
        variables=found.variables,
    )
    return weights, found.rounded


def _class_names(file, number):
    if file is None or not number:
        return tuple(f"class {i}" for i in range(number))
    try:
        names = tuple(line.strip() for line in file.read_text("utf-8").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--classes {file} cannot be read: {error}") from error
    if len(names) != number:
        raise InputError(f"--classes {file} has {len(names):,} names for {number:,} classes.")
    return names


def convert(flags) -> str:
    """Converts; returns what to say.

    Raises:
      InputError: the input cannot be read or does not fit, or the output has a wrong ending.
    """
    from bot_jax import export
    from bot_jax.interop.arrays import write_arrays
    from bot_jax.interop.translate import to_theirs

    weights, rounded = _read(flags)
    if flags.target == OURS:
        if flags.output.suffix != ".safetensors":
            raise InputError(f"{flags.output}: the name must end in .safetensors.")
        export.write_weights(flags.output, weights)
    else:
        arrays = to_theirs(weights.variables, weights.model, flags.target, flags.drop_classifier)
        write_arrays(flags.output, arrays)
    note = f"\n{len(rounded)} arrays of float64 were rounded to float32." if rounded else ""
    classes = f"{len(weights.class_names):,} classes" if weights.class_names else "no classifier"
    return (
        f"Wrote {flags.output}: {weights.model}, {classes}, "
        f"{flags.output.stat().st_size / 1e6:.1f} MB.{note}"
    )


@command
def main(arguments=None) -> int:
    """Runs the command and returns its exit code: 0, or 2 for wrong input."""
    flags = _parse(arguments)
    os.environ["JAX_PLATFORMS"] = "cpu"  # nothing is computed
    try:
        print(convert(flags))
    except OSError as error:
        print(f"Error: {flags.output} cannot be written: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
