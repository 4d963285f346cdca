"""Lists the models: ``python -m bot_jax.models [NAME] [--json]``."""

import argparse
import fnmatch
import json
import os
import sys

from bot_jax.errors import command
from bot_jax.models.registry import get_model, model_info, model_names

EXAMPLE = """\
example:
  python -m bot_jax.models 'resnet50_*'

  name        parameters      MACs  input  description
  resnet50_a  25,557,032    3.858G    224  ResNet-50-A: stride in the first ...
  ...
"""


@command
def main(arguments=None) -> int:
    """Prints the table; returns the exit code: 0, or 2 if no model has such a name."""
    parser = argparse.ArgumentParser(
        prog="python -m bot_jax.models",
        description="Lists the models with the number of their parameters and their "
        "multiply-accumulates (MACs) for one image of their input size.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "pattern", nargs="?", default="", metavar="NAME", help="part of a name, or a glob"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, with exact numbers")
    args = parser.parse_args(arguments)

    # Models are only traced: leave the accelerators to those who compute.
    os.environ["JAX_PLATFORMS"] = "cpu"
    names = _matching(args.pattern)
    rows = map(_row, names)
    if args.json:
        print(json.dumps(list(rows), indent=2))
        return 0
    width = max(map(len, names))
    print(f"{'name':<{width}}  parameters      MACs  input  description")
    for row in rows:
        print(
            f"{row['name']:<{width}}  {row['parameters']:>10,}  {row['macs'] / 1e9:>7.3f}G  "
            f"{row['input_size']:>5}  {row['description']}",
            flush=True,
        )
    return 0


def _matching(pattern):
    """Names that contain `pattern` or match it as a glob."""
    names = [n for n in model_names() if pattern in n or fnmatch.fnmatchcase(n, pattern)]
    # No name is nearest to a pattern of wildcards, but one may be nearest to a misspelling.
    return names or [model_info(pattern).name]


def _row(name):
    from bot_jax.models.count import count

    info = model_info(name)
    counts = count(get_model(name), info.input_size)
    return {
        "name": name,
        "parameters": counts.parameters,
        "macs": counts.macs,
        "input_size": info.input_size,
        "description": info.description,
    }


if __name__ == "__main__":
    sys.exit(main())
