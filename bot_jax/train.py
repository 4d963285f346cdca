"""A training run, from its configuration and workdir to its result."""

import contextlib
import time
from pathlib import Path

import jax

from bot_jax import parallel, processes, results, workdir
from bot_jax.checkpoint import Checkpoints, SaveFailed, newest_step
from bot_jax.data.fingerprint import fingerprint
from bot_jax.describe import describe_model, describe_run
from bot_jax.errors import TrainingFailed
from bot_jax.interrupt import catch_signals
from bot_jax.pretrained import load_pretrained
from bot_jax.progress import StartUp, print_table
from bot_jax.setup import make_setup
from bot_jax.training_loop import TrainingLoop
from bot_jax.workdir_lock import lock_workdir


def train(config, directory: Path, began: float | None = None) -> dict:
    """Trains, evaluates and saves, from the last checkpoint in `directory` or from the start.

    Args:
      config: the whole configuration.
      directory: the workdir.
      began: when the program did, by `time.perf_counter`; default now.

    Returns:
      The final result, as in result.json.

    Raises:
      InputError: a value or a file of the user's is wrong.
      TrainingFailed: the loss is no longer finite, or the disk is full, or another process of
        the run is gone.
      Interrupted: SIGTERM or SIGINT; the state was saved.
    """
    start_up = StartUp(time.perf_counter() if began is None else began)
    start_up.finished("imports")
    with _failures_in_words(directory), contextlib.ExitStack() as stack:
        with processes.together():
            workdir.check_workdir(directory, config)
            finished = results.read(directory)
            if finished:
                print(
                    f"This run is finished: {directory}/result.json has step {finished['step']:,}."
                )
                return finished
            setup, pretrained = _prepare(config, directory, stack)
        print_table("Model", describe_model(setup))
        print_table("Run", describe_run(config, setup))
        if pretrained:
            print_table("Pretrained weights", pretrained.describe())
        start_up.finished("set-up")
        signal_received = stack.enter_context(catch_signals())
        checkpoints = stack.enter_context(
            Checkpoints(
                directory / "checkpoints",
                keep_last=config.checkpoint.keep_last,
                # An early stop goes back to the best.
                keep_best=max(config.checkpoint.keep_best, config.early_stopping.enabled),
            )
        )
        if checkpoints.latest_step is None:
            drawn = setup.initial_state(pretrained and pretrained.variables)
            state = parallel.replicate(drawn, setup.layout)
        else:
            with processes.together():
                state = checkpoints.restore(setup.state_shapes, setup.layout)
            print(f"Going on after step {checkpoints.latest_step:,}.", flush=True)
        start = checkpoints.latest_step or 0  # the weights may not be there yet
        start_up.finished("weights")
        loop = TrainingLoop(config, setup, directory, checkpoints, signal_received, start, start_up)
        stack.callback(loop.close)
        return loop.go(state)


def _prepare(config, directory, stack):
    """Builds the parts of the run and takes the directory; nothing is written if this fails."""
    setup = make_setup(config)
    # A run that goes on has them in its checkpoint.
    goes_on = newest_step(directory / "checkpoints") is not None
    pretrained = None if goes_on else load_pretrained(config, setup)
    stack.enter_context(lock_workdir(directory))
    workdir.check_workdir(directory, config)  # another run may have begun there meanwhile
    workdir.check_data(directory, fingerprint(setup.labelled_source))
    if setup.teacher:
        workdir.check_teacher(directory, setup.teacher.identity)
    workdir.write_config(directory, config)
    workdir.write_class_names(directory, setup.source.class_names)
    if pretrained:
        workdir.write_pretrained(directory, pretrained.report)
    return setup, pretrained


@contextlib.contextmanager
def _failures_in_words(directory):
    """Says of what may go wrong outside of the run what it means for the run."""
    try:
        yield
    except (SaveFailed, OSError, jax.errors.JaxRuntimeError) as error:
        lost = isinstance(error, jax.errors.JaxRuntimeError)
        if lost and not processes.are_several():
            raise
        saved = newest_step(directory / "checkpoints")
        where = f"The checkpoint of step {saved:,} is intact" if saved else "Nothing was saved yet"
        what = {SaveFailed: "A checkpoint could not be written"}.get(type(error), "The run failed")
        if lost:
            what = "The step failed, perhaps since another process of the run ended"
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise TrainingFailed(
            f"{what}: {reason}. {where}. Once the cause is mended, the same command goes on."
        ) from error
