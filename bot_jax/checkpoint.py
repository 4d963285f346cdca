"""Checkpoints: what is saved, when, and how it comes back.

Saved is the whole `TrainState`, since position in the data is the step and there is nothing
else to remember. Orbax writes asynchronously into a temporary directory and renames it when it
is complete, so a checkpoint is either whole or absent.
"""

import logging
from pathlib import Path

import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN

from bot_jax.errors import InputError
from bot_jax.parallel import Layout, replicated_like

# Orbax warns, through absl, of things that are meant, such as a checkpoint without metrics.
logging.getLogger("absl").setLevel(logging.ERROR)


class Checkpoints:
    """The checkpoints of one run, in one directory. Use as a context manager.

    Leaving the context waits for the checkpoint that is being written.
    """

    def __init__(
        self, directory: Path, *, keep_last: int = 1, keep_best: int = 0, read_only: bool = False
    ):
        """Opens or creates the directory; keeps the newest and, by top-1, the best.

        With `read_only` nothing in it is changed, so that another process may be writing there.
        """
        policies = [LatestN(keep_last)]
        if keep_best:
            policies.append(
                BestN(get_metric_fn=_top1, n=keep_best, keep_checkpoints_without_metrics=False)
            )
        options = ocp.CheckpointManagerOptions(
            best_fn=_top1,
            preservation_policy=AnyPreservationPolicy(policies),
            cleanup_tmp_directories=not read_only,
            read_only=read_only,
        )
        self._directory = directory
        self._manager = ocp.CheckpointManager(
            directory.absolute(), options=options, item_handlers=ocp.PyTreeCheckpointHandler()
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._manager.close()

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

        Returns as soon as the device's memory is copied. Does nothing where this step is saved
        already.
        """
        if step != self.latest_step:
            metrics = metrics and {name: float(metrics[name]) for name in ("top1", "top5", "loss")}
            self._manager.save(step, args=ocp.args.PyTreeSave(state), metrics=metrics, force=True)

    def wait(self) -> None:
        """Waits until what was saved is on disk, and raises what went wrong, if anything."""
        self._manager.wait_until_finished()

    def restore(self, like, layout: Layout):
        """Loads the newest checkpoint onto the devices of `layout`, whatever devices wrote it.

        Args:
          like: a state with the shapes and dtypes that are expected.
          layout: where the arrays go.

        Raises:
          InputError: there is no checkpoint, or it holds a different model.
        """
        return self._restore(like, layout, self.latest_step)

    def restore_variables(self, like, layout: Layout, step: int | None = None):
        """Loads only the weights to evaluate: the moving average where there is one.

        Args:
          like: {"params", "batch_stats"} with the shapes and dtypes that are expected.
          layout: where the arrays go.
          step: of which checkpoint; default the newest.

        Raises:
          InputError: there is no checkpoint, or it holds a different model.
        """
        step = self.latest_step if step is None else step
        if self._saved(step)["ema"] is None:
            return self._restore(like, layout, step, partial=True)
        return self._restore({"ema": like}, layout, step, partial=True)["ema"]

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
        return self._manager.restore(
            step,
            args=ocp.args.PyTreeRestore(
                item=like,
                restore_args=ocp.checkpoint_utils.construct_restore_args(like),
                partial_restore=partial,
            ),
        )


def has_checkpoint(directory: Path) -> bool:
    """Whether there is a complete checkpoint in the directory of a run's; changes nothing there."""
    return directory.is_dir() and any(path.name.isdigit() for path in directory.iterdir())


# Differences that an error message lists.
_SHOWN = 8


def shape_differences(one, other, of_one: str, of_other: str) -> str:
    """Where the arrays of two trees differ in name or shape, a line each; "" where they do not.

    Args:
      one, other: pytrees of arrays, or of anything with a shape.
      of_one, of_other: where they are from, such as "the checkpoint".
    """
    one, other = (
        {"/".join(path): leaf.shape for path, leaf in ocp.tree.to_flat_dict(tree).items()}
        for tree in (one, other)
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
