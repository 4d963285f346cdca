"""Puts runs beside each other, the paper and other frameworks.

python -m bot_jax.compare runs/ladder --with paper,gluoncv

Runs that differ in nothing but their seed are a group, with mean and standard deviation. The first
group is what the others are compared with; `--with` compares each with what is published of its
model. docs/compare.md says how the verdict comes about, and which JSON other frameworks can write.
"""

import argparse
import dataclasses
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
# Of two groups of one's own neither is what the other should have come to.
_AMONG_OWN = {"reproduced": "at least as good", "not reproduced": "worse"}


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


def comparisons(groups, sources: list[str], margin: float) -> list:
    """Each group with what is published of its model, and with the first one."""
    from bot_jax.compare.published import as_group, references
    from bot_jax.compare.verdict import compare

    found = []
    for group in groups:
        for line, same_recipe in references(group, sources):
            spread = line.spread and line.spread[0]
            runs = re.search(r"of (\d+) runs", line.note) if spread else None
            number = int(runs[1]) if runs else 1
            options = {"spread": spread, "runs": number, "same_recipe": same_recipe}
            found.append(compare(group, as_group(line), margin, **options))
    for group in groups[1:]:
        own = compare(group, groups[0], margin)
        found.append(dataclasses.replace(own, verdict=_AMONG_OWN.get(own.verdict, own.verdict)))
    return found


@command
def main(arguments=None) -> int:
    """Runs the command and returns its exit code: 0, or 2 for wrong input."""
    flags = _parse(arguments)
    from bot_jax.compare.formats import FORMATS
    from bot_jax.compare.groups import read_groups

    try:
        groups = read_groups(flags.runs, flags.data)
        sources = [name for name in flags.sources.split(",") if name]
        text = FORMATS[flags.format](groups, comparisons(groups, sources, flags.margin))
        if flags.output:
            flags.output.write_text(text, "utf-8")
    except OSError as error:
        print(f"Error: {flags.output} cannot be written: {error}", file=sys.stderr)
        return 2
    print(f"Wrote {flags.output}." if flags.output else text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
