"""Writes a page about runs: curves, results, mistakes, augmentation and configuration.

python -m bot_jax.report runs/a runs/b --output report.html

The page is one file that needs nothing else: it can be sent, and opened without a network. What a
run does not have, or not yet, is left out of it, and said.
"""

import argparse
import sys
from pathlib import Path

from bot_jax.errors import InputError, command

_EPILOG = """\
examples:
  python -m bot_jax.report runs/quickstart
  python -m bot_jax.report runs/with_mixup runs/without --output report.html

For the mistakes every finished run is evaluated again, which needs its data and its checkpoint.
"""

# With the smallest ones there are a page has room for them.
_MOST_PICTURES = 400


def _parse(arguments):
    parser = argparse.ArgumentParser(
        prog="python -m bot_jax.report",
        description="Writes a page about runs: curves, results, mistakes, augmentation and "
        "configuration.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="DIR", help="--workdir of a run")
    parser.add_argument(
        "--output", type=Path, default=Path("report.html"), help="page to write (report.html)"
    )
    parser.add_argument(
        "--mistakes",
        type=int,
        default=12,
        metavar="N",
        help="most confident mistakes to show of each run (12); 0: none, and nothing is evaluated",
    )
    return parser.parse_args(arguments)


def _check(flags):
    most = _MOST_PICTURES // len(flags.runs)
    if not 0 <= flags.mistakes <= most:
        raise InputError(
            f"--mistakes {flags.mistakes} must be from 0 to {most} for {len(flags.runs)} run(s)."
        )
    folder = flags.output.absolute().parent
    if not folder.is_dir():  # found out now, not when all is evaluated
        raise InputError(f"--output {flags.output} cannot be written: there is no folder {folder}.")


@command
def main(arguments=None) -> int:
    """Runs the command and returns its exit code: 0, or 2 for wrong input."""
    flags = _parse(arguments)
    _check(flags)
    from bot_jax.report.page import make_page
    from bot_jax.report.runs import read_runs

    page = make_page(read_runs(flags.runs), num_mistakes=flags.mistakes)
    try:
        flags.output.write_text(page, encoding="utf-8")
    except OSError as error:
        raise InputError(f"--output {flags.output} cannot be written: {error}") from error
    print(f"Wrote {flags.output}: {flags.output.stat().st_size / 1e6:.1f} MB.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
