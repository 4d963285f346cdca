"""Puts runs beside each other, the paper and other frameworks.

python -m bot_jax.compare runs/ladder --with paper,gluoncv

Runs that differ in nothing but their seed are a group, with mean and standard deviation. The first
of one's own is what one's other groups are compared with, and of each other framework the result
that is nearest; `--with` compares each with what is published of its model. docs/compare.md says
how the verdict comes about, and which JSON other frameworks can write.
"""

import argparse
import re
import sys
from pathlib import Path

from bot_jax.errors import command

_EPILOG = """\
examples:
  python -m bot_jax.compare runs/a runs/b
  python -m bot_jax.compare runs/folders --data imagenet2012/validation --with paper
  python -m bot_jax.compare runs/ladder timm.json --with paper,gluoncv,timm
  python -m bot_jax.compare runs/ladder --with paper --format html --output compared.html
"""


def _parse(arguments):
    parser = argparse.ArgumentParser(
        prog="python -m bot_jax.compare",
        description="Puts runs beside each other, the paper and other frameworks.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="workdir, directory of them, or .json"
    )
    parser.add_argument(
        "--with",
        dest="sources",
        default="",
        metavar="LIST",
        help="published results: paper,gluoncv,timm,torchvision,paddleclas",
    )
    parser.add_argument(
        "--data",
        metavar="SET/SPLIT",
        help="what runs on own files are of, such as imagenet2012/validation (their directory)",
    )
    parser.add_argument(
        "--margin", type=float, default=0.3, metavar="X", help="points that are no matter (0.3)"
    )
    parser.add_argument("--format", choices=("table", "markdown", "json", "html"), default="table")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write it there (shown)")
    flags = parser.parse_args(arguments)
    if not 0 <= flags.margin <= 100:
        parser.error("--margin must be from 0 to 100")
    if flags.data is not None and not re.fullmatch(r"[^/]+(/[^/]+)+", flags.data):
        parser.error("--data is of the form SET/SPLIT, such as imagenet2012/validation")
    return flags


@command
def main(arguments=None) -> int:
    """Runs the command and returns its exit code: 0, or 2 for wrong input."""
    flags = _parse(arguments)
    from bot_jax.compare.formats import FORMATS
    from bot_jax.compare.groups import read_groups
    from bot_jax.compare.pairs import comparisons

    try:
        found = read_groups(flags.runs, flags.data)
        for note in found.notes:
            print(f"Note: {note}", file=sys.stderr)
        sources = [name.strip() for name in flags.sources.split(",") if name.strip()]
        compared = comparisons(found.groups, sources, flags.margin)
        text = FORMATS[flags.format](found.groups, compared)
        if flags.output:
            flags.output.write_text(text, "utf-8")
    except OSError as error:
        print(f"Error: {flags.output or flags.runs[0]}: {error}", file=sys.stderr)
        return 2
    print(f"Wrote {flags.output}." if flags.output else text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
