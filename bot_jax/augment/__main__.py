"""Lists the augmentations: ``python -m bot_jax.augment [NAME] [--json]``."""

import argparse
import fnmatch
import json
import os
import sys

from bot_jax.augment.registry import augmentations
from bot_jax.errors import InputError, command, suggest

EXAMPLE = """\
example:
  python -m bot_jax.augment cutout

  name    on          what it does, and its options
  cutout  normalized  Hides squares at random places of each image.
                      probability=1  length=16  holes=1

In a run: --config.augment.cutout.length=8, or =on or =off behind --config.augment.cutout
"""


@command
def main(arguments=None) -> int:
    """Prints the list; returns the exit code: 0, or 2 if no augmentation has such a name."""
    parser = argparse.ArgumentParser(
        prog="python -m bot_jax.augment",
        description="Lists the augmentations in the order in which they are applied, with their "
        "options and defaults. They are on pixels (before normalisation), on normalized images, or "
        "on groups of a batch.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "pattern", nargs="?", default="", metavar="NAME", help="part of a name, or a glob"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, with exact numbers")
    args = parser.parse_args(arguments)

    # Nothing is computed: leave the accelerators to those who compute.
    os.environ["JAX_PLATFORMS"] = "cpu"
    rows = _matching(args.pattern)
    if args.json:
        print(json.dumps([_row(augmentation) for augmentation in rows], indent=2))
        return 0
    width = max(len("name"), *(len(augmentation.name) for augmentation in rows))
    print(f"{'name':<{width}}  {'on':<10}  what it does, and its options")
    for augmentation in rows:
        shown = augmentation.options | (
            {"preset": "|".join(augmentation.presets)} if augmentation.presets else {}
        )
        options = (f"{name}={_text(value)}" for name, value in shown.items())
        print(f"{augmentation.name:<{width}}  {augmentation.on:<10}  {augmentation.summary}")
        print(f"{'':<{width}}  {'':<10}  {'  '.join(options)}")
    return 0


def _matching(pattern):
    """Augmentations whose name contains `pattern` or matches it as a glob, in their order."""
    known = augmentations()
    rows = [a for n, a in known.items() if pattern in n or fnmatch.fnmatchcase(n, pattern)]
    if not rows:
        raise InputError(
            f"There is no augmentation named {pattern!r}.{suggest(pattern, known)} "
            "`python -m bot_jax.augment` lists all."
        )
    # Those of other packages are the last of their kind, and not of all.
    return sorted(rows, key=lambda a: ("pixels", "normalized", "batch").index(a.on))


def _row(augmentation):
    return {
        "name": augmentation.name,
        "on": augmentation.on,
        "options": augmentation.options,
        "summary": augmentation.summary,
    }


def _text(value):
    """A default as it may be written behind --config.augment.NAME.OPTION=, with short numbers."""
    if isinstance(value, tuple):
        return f"({','.join(map(_text, value))})"
    return f"{value:g}" if type(value) is float else str(value)


if __name__ == "__main__":
    sys.exit(main())
