"""Checkpoints: what is saved, when, and how it comes back.

Saved is the whole `TrainState`, since position in the data is the step and there is nothing
else to remember. Orbax writes asynchronously into a temporary directory and renames it when it
is complete, so a checkpoint is either whole or absent. A checksum of each array is saved with it,
since what was written whole may be damaged later: then the checkpoint before it counts.
"""

import contextlib
import itertools
import json
import logging
import tempfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN

from bot_jax import processes
from bot_jax.errors import InputError
from bot_jax.parallel import Layout, replicated_like

# Orbax warns, through absl, of things that are meant, such as a checkpoint without metrics.
logging.getLogger("absl").setLevel(logging.ERROR)

# The name of the field that Orbax keeps for us of each checkpoint.
_CHECKSUMS = "checksums"
# What must be finite.
_FINITE = ("params", "batch_stats", "opt_state", "ema")
# Where Orbax has the metrics of a checkpoint, below its directory: a file of that name in another.
_METRICS = "metrics"
# Where damaged checkpoints are put, beside the directory of the good ones.
DAMAGED = "damaged_checkpoints"


class SaveFailed(Exception):
    """A checkpoint could not be written; those before it are intact."""


class Checkpoints:
    """The checkpoints of one run, in one directory. Use as a context manager.

    Leaving the context waits for the checkpoint that is being written, but not where another
    process of the run is gone.
    """

    def __init__(
        self, directory: Path, *, keep_last: int = 1, keep_best: int = 0, read_only: bool = False
    ):
        """Opens or creates the directory; keeps the newest and, by top-1, the best.

        With `read_only` nothing in it is changed, so that another process may be writing there.

        Raises:
          InputError: what is there cannot be read. Where that is for one checkpoint, it is put
            aside instead, as by `restore`.
        """
        policies = [LatestN(keep_last)]
        if keep_best:
            policies.append(
                BestN(get_metric_fn=_top1, n=keep_best, keep_checkpoints_without_metrics=False)
            )
        self._options = ocp.CheckpointManagerOptions(
            best_fn=_top1,
            preservation_policy=AnyPreservationPolicy(policies),
            cleanup_tmp_directories=not read_only,
            read_only=read_only,
        )
        self._directory = directory
        self._manager = self._open_without_damaged()

    def _open_without_damaged(self):
        try:
            return self._open()
        except Exception as error:  # Orbax reads what it keeps beside the arrays at once
            reason = _first_line(error)
        steps = [int(path.name) for path in self._directory.glob("*") if path.name.isdigit()]
        if self._options.read_only or processes.are_several():
            steps = []  # nothing may be moved, or by one process only
        for step in sorted(steps, reverse=True):
            aside = self._move_aside(step)
            try:
                manager = self._open()
            except Exception:  # not this one, or not this one alone
                aside.rename(self._directory / str(step))
            else:
                _warn_of_damage(step, reason, aside)
                return manager
        raise InputError(
            f"The checkpoints in {self._directory} cannot be read: {reason}. Move the damaged one "
            "to somewhere else, or use another --workdir."
        )

    def _move_aside(self, step) -> Path:
        folder = self._directory.parent / DAMAGED
        folder.mkdir(exist_ok=True)
        return (self._directory / str(step)).rename(_unused(folder / str(step)))

    def _open(self):
        return ocp.CheckpointManager(
            self._directory.absolute(),
            options=self._options,
            item_handlers=ocp.PyTreeCheckpointHandler(),
        )

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if processes.are_several() and kind and issubclass(kind, jax.errors.JaxRuntimeError):
            return  # another process is gone, and what is being written would wait for it
        try:
            self._manager.close()
        except Exception:
            if kind is None:  # what ended the context says more
                raise

    @property
    def latest_step(self) -> int | None:
        """Step of the newest checkpoint, or None."""
        return self._manager.latest_step()

    @property
    def best_step(self) -> int | None:
        """Step of the checkpoint with the best top-1, or None."""
        return self._manager.best_step()

    def save(self, step: int, state, metrics: dict | None = None) -> None:
        """Begins to save `state`; `metrics` are those of an evaluation at this step.

        Returns as soon as the device's memory is copied. Where this step is saved already only its
        metrics are added, if it has none: a signal ended the evaluation that was due there.

        Raises:
          SaveFailed: this checkpoint, or the one before, could not be written; or the state has a
            number in it that is not finite, and is not worth keeping.
        """
        metrics = metrics and {name: float(metrics[name]) for name in ("top1", "top5", "loss")}
        if step == self.latest_step:
            if metrics:
                self._add_metrics(step, metrics)
            return
        checksums, not_finite = _inspect(state)
        if not_finite:
            raise SaveFailed(f"{not_finite} has numbers that are not finite")
        with _failures_in_words():
            if not self._directory.is_dir():
                logging.warning("%s has disappeared, with its checkpoints.", self._directory)
                self._manager.close()
                self._manager = self._open()
            self._manager.save(
                step,
                args=ocp.args.PyTreeSave(state),
                metrics=metrics,
                force=True,
                custom_metadata={_CHECKSUMS: checksums},
            )

    def _add_metrics(self, step, metrics):
        self.wait()
        place = self._directory / str(step) / _METRICS
        with _failures_in_words():
            if processes.is_primary() and not place.exists():
                # Renamed when it is whole, as Orbax does; the checkpoint itself is not touched.
                folder = Path(tempfile.mkdtemp(prefix=".metrics.", dir=self._directory.parent))
                (folder / _METRICS).write_text(json.dumps(metrics))
                folder.chmod(place.parent.stat().st_mode)
                folder.rename(place)
            processes.gather("")  # until the primary process has done so
            self._manager.reload()

    def wait(self) -> None:
        """Waits until what was saved is on disk.

        Raises:
          SaveFailed: it could not be written.
        """
        with _failures_in_words():
            self._manager.wait_until_finished()

    def restore(self, like, layout: Layout):
        """Loads the newest checkpoint onto the devices of `layout`, whatever devices wrote it.

        One that is damaged is put aside, with a warning, and the one before it counts; then
        `latest_step` is the step of that.

        Args:
          like: a state with the shapes and dtypes that are expected.
          layout: where the arrays go.

        Raises:
          InputError: there is no checkpoint, or it holds a different model, or all are damaged;
            these stay where they are.
        """
        damaged = {}
        for step in sorted(self._manager.all_steps(), reverse=True):
            state, reason = self._try(like, layout, step)
            if not reason:
                self._put_aside(damaged)
                return state
            damaged[step] = reason
        if not damaged:
            self._saved(None)  # raises
        reasons = "\n".join(f"  step {step:,}: {reason}" for step, reason in damaged.items())
        raise InputError(
            f"No checkpoint in {self._directory} can be read:\n{reasons}\n"
            "To begin again use another --workdir, or remove this one."
        )

    def _try(self, like, layout, step):
        """(state, ""), or (None, why it cannot be read), the same in all processes."""
        state, reason = None, ""
        try:
            state = self._restore(like, layout, step)
        except InputError:
            raise
        except Exception as error:  # of a damaged file anything may come
            reason = _first_line(error)
        reasons = [text for text in processes.gather(reason) if text]
        return (None, reasons[0]) if reasons else (state, "")

    def _put_aside(self, damaged: dict[int, str]):
        if not damaged:
            return
        self._manager.close()
        if processes.is_primary():
            for step, reason in damaged.items():
                _warn_of_damage(step, reason, self._move_aside(step))
        processes.gather("")  # until the primary process has moved them
        self._manager = self._open()

    def restore_variables(self, like, layout: Layout, step: int | None = None):
        """Loads only the weights to evaluate: the moving average where there is one.

        Args:
          like: {"params", "batch_stats"} with the shapes and dtypes that are expected.
          layout: where the arrays go.
          step: of which checkpoint; default the newest.

        Raises:
          InputError: there is no checkpoint, or it holds a different model, or cannot be read.
        """
        step = self.latest_step if step is None else step
        try:
            if self._saved(step)["ema"] is None:
                return self._restore(like, layout, step, partial=True)
            return self._restore({"ema": like}, layout, step, partial=True)["ema"]
        except InputError:
            raise
        except Exception as error:  # of a damaged file anything may come
            raise InputError(
                f"The checkpoint of step {step:,} in {self._directory} cannot be read: "
                f"{_first_line(error)}. If it is damaged, put back a copy of its folder."
            ) from error

    def _saved(self, step) -> dict:
        """The tree of a checkpoint, of shapes and dtypes."""
        if step not in self._manager.all_steps():
            raise InputError(
                f"There is no checkpoint in {self._directory}"
                + ("." if step is None else f" of step {step:,}.")
            )
        return self._manager.item_metadata(step).tree

    def _restore(self, like, layout, step, partial=False):
        # Compared first: a restore that fails half-way leaves reads behind that nobody waits for.
        saved = self._saved(step)
        if partial:
            saved = {name: saved[name] for name in like if name in saved}
        differences = shape_differences(saved, like, "the checkpoint", "this configuration")
        if differences:
            raise InputError(
                f"The checkpoint of step {step} in {self._directory} does not fit this "
                f"configuration:\n{differences}"
            )
        like = replicated_like(like, layout)
        restored = self._manager.restore(
            step,
            args=ocp.args.PyTreeRestore(
                item=like,
                restore_args=ocp.checkpoint_utils.construct_restore_args(like),
                partial_restore=partial,
            ),
        )
        self._compare_checksums(step, restored)
        return restored

    def _compare_checksums(self, step, restored):
        # Checkpoints of older versions have none.
        saved = (self._manager.metadata(step).custom_metadata or {}).get(_CHECKSUMS, {})
        checksums, _ = _inspect(restored)
        for name, checksum in checksums.items():
            if saved and saved.get(name) != checksum:
                raise ValueError(f"{name} is not what was saved")


def _inspect(tree) -> tuple[dict[str, int], str]:
    """The CRC-32 of each array by its name, and the first name of one that is not finite, or ""."""
    arrays = _by_name(jax.device_get(tree))

    def inspect(array):
        array = np.ascontiguousarray(array)
        return zlib.crc32(array.reshape(-1).view(np.uint8)), np.isfinite(array).all()

    with ThreadPoolExecutor() as pool:
        found = dict(zip(arrays, pool.map(inspect, arrays.values()), strict=True))
    not_finite = [
        name
        for name, (_, finite) in found.items()
        if not finite and name.startswith(_FINITE)  # what feedback remembers begins with -inf
    ]
    return {name: checksum for name, (checksum, _) in found.items()}, (not_finite or [""])[0]


@contextlib.contextmanager
def _failures_in_words():
    try:
        yield
    except Exception as error:  # whatever the file system, or a thread of Orbax, came to
        raise SaveFailed(_first_line(error)) from error


def _first_line(error):
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _warn_of_damage(step, reason, aside):
    logging.warning(
        "The checkpoint of step %d is damaged (%s). It was moved to %s, and the run goes on from "
        "the one before it.",
        *(step, reason, aside),
    )


def _unused(path: Path) -> Path:
    """`path`, or the first of path.2, path.3, ... that does not exist."""
    candidates = itertools.chain([path], (Path(f"{path}.{n}") for n in itertools.count(2)))
    return next(candidate for candidate in candidates if not candidate.exists())


def _by_name(tree) -> dict:
    """The leaves of a tree, by their path as "params/stem/kernel"; None is no leaf."""
    leaves = ocp.tree.to_flat_dict(tree).items()
    return {"/".join(path): leaf for path, leaf in leaves if leaf is not None}


def newest_step(directory: Path) -> int | None:
    """Step of the newest complete checkpoint in the directory of a run's; changes nothing there."""
    if not directory.is_dir():
        return None
    return max((int(p.name) for p in directory.iterdir() if p.name.isdigit()), default=None)


def load_arrays(directory: Path, step: int) -> dict[str, np.ndarray]:
    """The arrays of a checkpoint as they were saved, by their path as "params/stem/kernel"."""
    path = (directory / str(step) / "default").absolute()
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        saved = checkpointer.metadata(path).item_metadata.tree
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), saved)
        tree = checkpointer.restore(path, ocp.args.PyTreeRestore(restore_args=as_numpy))
    return _by_name(tree)


# Differences that an error message lists.
_SHOWN = 8


def shape_differences(one, other, of_one: str, of_other: str) -> str:
    """Where the arrays of two trees differ in name or shape, a line each; "" where they do not.

    Args:
      one, other: pytrees of arrays, or of anything with a shape.
      of_one, of_other: where they are from, such as "the checkpoint".
    """
    one, other = (
        {name: leaf.shape for name, leaf in _by_name(tree).items()} for tree in (one, other)
    )
    lines = [
        f"  {name}: {one.get(name, 'missing')} in {of_one}, "
        f"{other.get(name, 'not there')} in {of_other}"
        for name in sorted(one.keys() | other.keys())
        if one.get(name) != other.get(name)
    ]
    more = len(lines) - _SHOWN
    return "\n".join(lines[:_SHOWN] + ([f"  and {more} more"] if more > 0 else []))


def _top1(metrics) -> float:
    return metrics["top1"]
