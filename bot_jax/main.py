"""Trains or evaluates an image classifier.

python -m bot_jax.main --config configs/quickstart.py --workdir runs/quickstart
"""

import argparse
import signal
import sys
import time
import traceback

from bot_jax import processes
from bot_jax.config import split_overrides
from bot_jax.errors import InputError, TrainingFailed
from bot_jax.huge_pages import use_huge_pages
from bot_jax.interrupt import Interrupted, Terminated, terminated_at_once

_BEGAN = time.perf_counter()
_EPILOG = """\
Any field of the configuration is set by its name (configs/default.py lists all):

  python -m bot_jax.main --config configs/quickstart.py --workdir runs/a \\
      --config.optimizer.momentum=0.8 --config.epochs=10

The rows of a file that has some, such as configs/table6.py, are listed with

  python -m bot_jax.main --config configs/table6.py:help

--config.dry_run=true compiles everything without data, and says what a run would take.

A configuration is code: one from a stranger is a program, and to load it is to run it.

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
    parser.add_argument(
        "--workdir",
        metavar="DIR",
        help="where results are written: a folder, or a URL such as s3://bucket/run",
    )
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
    several = parser.add_argument_group(
        "several processes", "under SLURM and Open MPI they find each other; see launch/README.md"
    )
    several.add_argument("--coordinator", metavar="HOST:PORT", help="where process 0 is")
    several.add_argument("--num-processes", type=int, metavar="N", help="of the run")
    several.add_argument("--process-id", type=int, metavar="I", help="of this one, from 0")
    flags, rest = parser.parse_known_args(arguments)
    return flags, split_overrides(parser, rest)


def main(arguments=None) -> int:
    """Runs the command and returns its exit code."""
    flags, overrides = _parse(arguments)
    exit_code = 1
    try:
        with terminated_at_once():
            exit_code = _main(flags, overrides)
    except Exception:
        if not processes.are_several():
            raise
        traceback.print_exc()  # `leave` does not come back
    finally:
        processes.leave(exit_code)
    return exit_code


def _main(flags, overrides) -> int:
    try:
        processes.start(flags.coordinator, flags.num_processes, flags.process_id)
        # Imported late: --help and a wrong flag should not wait for JAX and TensorFlow.
        from bot_jax.config import load_config
        from bot_jax.workdir import check_same_config

        if flags.config.endswith(":help"):
            from bot_jax.recipes import help_text

            print(help_text(flags.config.removesuffix(":help")))
            return 0
        with processes.together():
            config = load_config(flags.config, overrides)
        with processes.together():
            check_same_config(config)
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
        if processes.is_primary() or not isinstance(error, processes.AgreedError):
            print(f"{processes.name()}Error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stopped:  # outside training, which saves first
        number = signal.SIGTERM if isinstance(stopped, Terminated) else signal.SIGINT
        print(
            "Stopped by a signal outside training; what was saved before is complete. "
            "Run the same command again to go on.",
            file=sys.stderr,
        )
        processes.leave(128 + number, agreed=False)
        return 128 + number


def _run(flags, config):
    from bot_jax import evaluate, results, train
    from bot_jax.compile_cache import use_compile_cache
    from bot_jax.remote import NotSent, local_workdir

    use_compile_cache(flags.compile_cache)
    try:
        with local_workdir(flags.workdir) as workdir:
            if flags.mode == "evaluate":
                result, file = evaluate.evaluate_checkpoint(config, workdir)
            else:
                result, file = train.train(config, workdir, _BEGAN), workdir / "result.json"
    except (TrainingFailed, NotSent) as error:
        print(f"{processes.name()}Error: {error}", file=sys.stderr)
        return 1
    except Interrupted as stopped:
        if processes.is_primary():
            print(stopped, file=sys.stderr)
        return stopped.exit_code
    results.print_result(result, f"{flags.workdir.rstrip('/')}/{file.name}")
    return 0


if __name__ == "__main__":
    use_huge_pages()
    sys.exit(main())
