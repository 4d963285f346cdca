"""Trains or evaluates an image classifier.

python -m bot_jax.main --config configs/quickstart.py --workdir runs/quickstart
"""

import argparse
import sys
import time
from pathlib import Path

from bot_jax.config import split_overrides
from bot_jax.errors import InputError
from bot_jax.huge_pages import use_huge_pages

_BEGAN = time.perf_counter()
_EPILOG = """\
Any field of the configuration is set by its name (configs/default.py lists all):

  python -m bot_jax.main --config configs/quickstart.py --workdir runs/a \\
      --config.optimizer.momentum=0.8 --config.epochs=10

The rows of a file that has some, such as configs/table6.py, are listed with

  python -m bot_jax.main --config configs/table6.py:help

--config.dry_run=true compiles everything without data, and says what a run would take.

A second start with the same --workdir goes on where the first one stopped.
Exit codes: 0 done, 1 training failed, 2 wrong input, 130 or 143 stopped by a signal and saved.
"""


def _parse(arguments):
    parser = argparse.ArgumentParser(
        prog="python -m bot_jax.main",
        description="Trains or evaluates an image classifier.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config", required=True, metavar="FILE.py[:ROW]", help="configuration file and its row"
    )
    parser.add_argument("--workdir", type=Path, metavar="DIR", help="where results are written")
    parser.add_argument(
        "--mode",
        choices=("train", "evaluate"),
        default="train",
        help="evaluate: the newest checkpoint of DIR, on config.data.eval_split",
    )
    parser.add_argument(
        "--compile-cache",
        metavar="DIR",
        help="keep compiled programs there for the next start; 'off': keep none (default: "
        "~/.cache/bot_jax/compiled with an accelerator, off on a CPU, where it makes steps slower)",
    )
    flags, rest = parser.parse_known_args(arguments)
    return flags, split_overrides(parser, rest)


def main(arguments=None) -> int:
    """Runs the command and returns its exit code."""
    flags, overrides = _parse(arguments)
    try:
        # Imported late: --help and a wrong flag should not wait for JAX and TensorFlow.
        from bot_jax.config import load_config

        if flags.config.endswith(":help"):
            from bot_jax.recipes import help_text

            print(help_text(flags.config.removesuffix(":help")))
            return 0
        config = load_config(flags.config, overrides)
        if config.dry_run:
            if flags.mode == "evaluate":
                raise InputError("config.dry_run is for --mode train; it compiles both steps.")
            from bot_jax.dry_run import dry_run

            dry_run(config)
            return 0
        if flags.workdir is None:
            raise InputError("--workdir DIR is missing: the folder where results are written.")
        return _run(flags, config)
    except InputError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # outside training, which saves first
        print("Stopped.", file=sys.stderr)
        return 130


def _run(flags, config):
    from bot_jax import evaluate, results, train
    from bot_jax.compile_cache import use_compile_cache
    from bot_jax.interrupt import Interrupted

    use_compile_cache(flags.compile_cache)
    try:
        if flags.mode == "evaluate":
            result, file = evaluate.evaluate_checkpoint(config, flags.workdir)
        else:
            result, file = train.train(config, flags.workdir, _BEGAN), flags.workdir / "result.json"
    except train.TrainingFailed as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except Interrupted as stopped:
        print(stopped, file=sys.stderr)
        return stopped.exit_code
    results.print_result(result, file)
    return 0


if __name__ == "__main__":
    use_huge_pages()
    sys.exit(main())
