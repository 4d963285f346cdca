"""The result of a run: result.json, the confusion matrix, and what is made of it."""

import json
from pathlib import Path

from bot_jax import rejection
from bot_jax.errors import InputError
from bot_jax.models.count import Counts
from bot_jax.workdir import (
    git_commit,
    versions,
    write_atomically,
    write_class_results,
    write_confusion,
)


def summary(config, evaluation, *, source, devices, counts: Counts, **more) -> dict:
    """What result.json holds.

    top1 and top5 are percentages, loss is the mean in nats, all over `num_examples` examples
    of `split`.

    Args:
      config: the whole configuration.
      evaluation: result of `evaluate.make_evaluate`.
      source: the split that was evaluated.
      devices: NumPy array of the devices that were used.
      counts: the size of the model.
      **more: what only the caller knows, such as the step.
    """
    return {
        "top1": round(evaluation["top1"], 4),
        "top5": round(evaluation["top5"], 4),
        "loss": evaluation["loss"],
        "num_examples": evaluation["num_examples"],
        "split": config.data.eval_split,
        "data": source.name,
        **more,
        "parameters": counts.parameters,
        "macs": counts.macs,
        "config_name": config.name,
        "seed": config.seed,
        "devices": f"{devices.size} x {devices.flat[0].device_kind}",
        "versions": versions(),
        "git_commit": git_commit(),
        "skipped_in_evaluation": evaluation["num_bad"],
    }


def read(directory: Path) -> dict | None:
    """The result.json of a finished run, or None.

    Raises:
      InputError: it cannot be read.
    """
    file = directory / "result.json"
    try:
        return json.loads(file.read_text()) if file.exists() else None
    except (OSError, ValueError) as error:
        raise InputError(
            f"{file} cannot be read: {error}. Remove it: training with the same command writes it "
            "anew, from the last checkpoint."
        ) from error


def weights_step(result: dict) -> int | None:
    """The step of the checkpoint that a finished run's result is of; None: the newest."""
    return result["best_step"] if result.get("stopped_early") else None


def write(directory: Path, class_names, result, evaluation, name="result") -> None:
    """Writes NAME.json, confusion_SPLIT.csv, classes_SPLIT.csv and rejection.json, each at once.

    A threshold of another split, see rejection.py, stays as it is.
    """
    write_confusion(directory, result["split"], class_names, evaluation["classes"])
    write_class_results(directory, result["split"], class_names, evaluation["classes"])
    found = result.get("rejection")
    if found and found["calibrated_on"] == result["split"]:
        rejection.write(directory, found)
    write_atomically(directory / f"{name}.json", json.dumps(result, indent=2) + "\n")


def _describe_rejection(found):
    if not found:
        return []
    text = (
        f"below {found['threshold']:.4f}: {found['known_accepted_and_correct']:.2f} % of the known "
        f"accepted and correct, {found['background_rejected']:.2f} % of the background rejected"
    )
    return [("rejected", text)]


def print_result(result: dict, file: str) -> None:
    """Prints the table that ends a run, and which file has the rest."""
    pace = result.get("images_per_second")
    skipped = len(result.get("skipped_images", ())) + result["skipped_in_evaluation"]
    rows = [
        ("top-1", f"{result['top1']:.2f} %"),
        ("top-5", f"{result['top5']:.2f} %"),
        ("loss", f"{result['loss']:.4f}"),
        ("examples", f"{result['num_examples']:,} of {result['split']}"),
        *_describe_rejection(result.get("rejection")),
        *(
            [("training", f"{result['train_clean_top1']:.2f} % top-1 on clean images of it")]
            if "train_clean_top1" in result
            else []
        ),
        *([("images/s", f"{pace:,.0f} in training")] if pace else []),
        *([("skipped", f"{skipped:,} images that cannot be decoded")] if skipped else []),
        ("results", file),
    ]
    width = max(len(name) for name, _ in rows)
    print("\nResult")
    for name, value in rows:
        print(f"  {name:<{width}}  {value}")
