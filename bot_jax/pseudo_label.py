r"""Labels images with what a trained model is sure of, so that the next run learns from them too.

python -m bot_jax.pseudo_label RUN IMAGES OUTPUT

The loop, for data of config.data.source = folder or list:

    1. Train a run:       python -m bot_jax.main --config mine.py --workdir runs/1
    2. Label images:      python -m bot_jax.pseudo_label runs/1 more_images labelled/1
    3. Train on both:     python -m bot_jax.main --config mine.py --workdir runs/2 \
                              --config.data.source=list --config.data.path=labelled/1 \
                              --config.data.options.allow_outside=true \
                              --config.pretrained=runs/1
    4. Label again:       python -m bot_jax.pseudo_label runs/2 more_images labelled/2

and so on, while the validation accuracy grows. What an earlier round labelled is labelled anew.

Every image is seen as in an evaluation. Kept are those of which the most probable class has at
least the probability --threshold, the most confident first, of each class at most --per-class:
by default the mean number of labelled training images a class, so that the new images at most
double the data and no class runs away. (A model that favours a class would favour it more and
more.) Left out are near duplicates (data/perceptual_hash.py) of the run's evaluation images and of
those in --against, without which the next run would be tested on what it learnt, and near
duplicates of images that are kept already. A background class is never given.

OUTPUT is a new folder that config.data.source = list reads. The images stay where they are, so that
its lists lead out of it; config.data.options.allow_outside permits that:

    train.txt             the run's labelled training images, then the new ones
    validation.txt        the run's evaluation images, with the labels that they have
    classes.txt           names of the classes
    pseudo_labelled.csv   the new ones: path, class, confidence
    report.json           how many images were predicted, kept and left out, and why

Source: D.-H. Lee, "Pseudo-Label" (ICML workshop 2013); the order by confidence and a number a class
as in Xie et al., arXiv 1911.04252 (Noisy Student), and near duplicates of the validation
images removed as in arXiv 2103.05959 (SSLD).
"""

import argparse
import collections
import math
import os
import sys
from pathlib import Path

import numpy as np

from bot_jax.errors import InputError, command

_EPILOG = """\
example:
  python -m bot_jax.pseudo_label runs/1 more_images labelled/1
  python -m bot_jax.main --config mine.py --workdir runs/2 --config.data.source=list \\
      --config.data.options.allow_outside=true --config.data.path=labelled/1 \\
      --config.pretrained=runs/1
  python -m bot_jax.pseudo_label runs/2 more_images labelled/2     and so on

OUTPUT is a new folder that config.data.source=list reads: the run's training images and the newly
labelled ones (train.txt), its evaluation images (validation.txt), and report.json. The images stay
where they are, outside of it, which config.data.options.allow_outside permits.
"""


def choose(labels, confidence, hashes, against, *, per_class: int, distance: int):
    """Chooses among images, the most confident first, and of equally confident ones the first.

    Args:
      labels: int [n], their classes.
      confidence: float [n].
      hashes: n hashes, or None where there is none.
      against: hashes of images of which nothing may be a near duplicate.
      per_class: at most so many of a class.
      distance: so many bits of near duplicates may differ.

    Returns:
      The chosen indices in the order of choice, and a dict: how many were left out, by reason.
    """
    from bot_jax.data.perceptual_hash import NearDuplicates

    taken, kept = NearDuplicates(distance), NearDuplicates(distance)
    for image_hash in against:
        taken.add(image_hash)
    chosen, of_class = [], collections.Counter()
    left_out = dict.fromkeys(("duplicates_of_validation", "duplicates_of_kept", "over_quota"), 0)
    for i in np.argsort(-np.asarray(confidence), kind="stable").tolist():
        label = int(labels[i])
        if of_class[label] == per_class:  # first, since it costs nothing
            left_out["over_quota"] += 1
        elif taken.has_near(hashes[i]):
            left_out["duplicates_of_validation"] += 1
        elif kept.has_near(hashes[i]):
            left_out["duplicates_of_kept"] += 1
        else:
            chosen.append(i)
            of_class[label] += 1
            kept.add(hashes[i])
    return chosen, left_out


def pseudo_label(
    directory: Path,
    images: Path,
    output: Path,
    *,
    threshold: float = 0.9,
    per_class: int = 0,
    against: Path | None = None,
    distance: int = 4,
) -> dict:
    """Labels the images of a folder and writes `output`, see the top of this file.

    Args:
      directory: the workdir of a finished run.
      images: the folder of images.
      output: the folder to write, which must not exist.
      threshold: least probability of an image that is kept.
      per_class: at most so many of a class; 0: the mean number of labelled images a class.
      against: another folder of images of which nothing may be a near duplicate.
      distance: so many of the 64 bits of near duplicates may differ.

    Returns:
      What report.json holds.

    Raises:
      InputError: something is missing, or there is something already where `output` shall be.
    """
    from bot_jax.data.label_lists import write_lists
    from bot_jax.file_run import hash_files, predict, read_run

    if os.path.lexists(output):
        raise InputError(f"OUTPUT = {output} is there already. Name a new folder.")
    paths = _images(images, "IMAGES")
    not_to_learn = _images(against, "--against") if against else []
    run = read_run(directory)
    labelled = {os.path.realpath(path) for path, _ in run.train}
    new = [path for path in paths if os.path.realpath(path) not in labelled]
    if not new:
        raise InputError(f"IMAGES = {images} has only images that are labelled already.")
    per_class = per_class or math.ceil(len(run.train) / len(run.class_names))
    predicted = predict(run, new)
    readable = predicted["label"] != -1
    is_known = predicted["label"] >= 0
    sure = np.flatnonzero(is_known & (predicted["confidence"] >= threshold))
    labels, confidence = predicted["label"][sure], predicted["confidence"][sure]
    chosen, left_out = choose(
        labels,
        confidence,
        hash_files([new[i] for i in sure], "hashed", run),
        hash_files([path for path, _ in run.validation] + not_to_learn, "compared with", run),
        per_class=per_class,
        distance=distance,
    )
    kept = sorted((new[sure[i]], int(labels[i]), float(confidence[i])) for i in chosen)
    of_class = collections.Counter(label for _, label, _ in kept)
    report = {
        "run": str(directory),
        "step": run.weights.step,
        "images": str(images),
        "threshold": threshold,
        "per_class": per_class,
        "hash_distance": distance,
        "labelled": len(run.train),
        "already_labelled": len(paths) - len(new),
        "unreadable": int((~readable).sum()),
        "predicted": int(readable.sum()),
        "background": int((readable & ~is_known).sum()),
        "below_threshold": int(is_known.sum()) - len(sure),
        **left_out,
        "kept": len(kept),
        "kept_by_class": {name: of_class[k] for k, name in enumerate(run.class_names)},
    }
    write_lists(output, run, kept, report)
    return report


def _images(folder, what):
    from bot_jax.data.folder import images_below

    names = images_below(os.fspath(folder), what)
    return [os.path.join(os.path.abspath(folder), name) for name in names]


def _print_report(report, run, output):
    from bot_jax.progress import print_table

    names = {
        "labelled": "training images with a label",
        "already_labelled": "images that have a label already",
        "unreadable": "cannot be decoded",
        "predicted": "predicted",
        "background": "most like the background",
        "below_threshold": f"less sure than {report['threshold']:g}",
        "duplicates_of_validation": "near duplicates of images to evaluate on",
        "duplicates_of_kept": "near duplicates of each other",
        "over_quota": f"more than {report['per_class']:,} of a class",
        "kept": "kept",
    }
    print_table("Images", [(text, f"{report[name]:>9,}") for name, text in names.items()])
    by_class = report["kept_by_class"].items()
    print_table("Kept", [(name, f"{count:>9,}") for name, count in by_class])
    print(
        f"\nWrote {output}. Train on it with --config.data.source=list "
        f"--config.data.options.allow_outside=true --config.data.path={output} "
        "--config.data.train_split=train "
        f"--config.data.eval_split=validation --config.pretrained={run}"
    )


def _parse(arguments):
    parser = argparse.ArgumentParser(
        prog="python -m bot_jax.pseudo_label",
        description="Labels images with what a trained model is sure of, for the next run.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="--workdir of a finished run")
    parser.add_argument("images", type=Path, metavar="IMAGES", help="folder of images to label")
    parser.add_argument("output", type=Path, metavar="OUTPUT", help="new folder of lists to write")
    parser.add_argument(
        "--threshold", type=float, default=0.9, metavar="P", help="least probability (0.9)"
    )
    parser.add_argument(
        "--per-class",
        type=int,
        metavar="N",
        help="at most N of a class, the surest first (the mean number of labelled ones)",
    )
    parser.add_argument(
        "--against", type=Path, metavar="DIR", help="keep no near duplicate of these images either"
    )
    parser.add_argument(
        "--hash-distance",
        type=int,
        default=4,
        metavar="D",
        help="bits of 64 in which the hashes of near duplicates differ at most (4)",
    )
    flags = parser.parse_args(arguments)
    if not 0 <= flags.threshold <= 1:
        parser.error(f"--threshold {flags.threshold} must be from 0 to 1")
    if flags.per_class is not None and flags.per_class < 1:
        parser.error(f"--per-class {flags.per_class} must be at least 1")
    if not 0 <= flags.hash_distance <= 64:
        parser.error(f"--hash-distance {flags.hash_distance} must be from 0 to 64")
    return flags


@command
def main(arguments=None) -> int:
    """Runs the command and returns its exit code."""
    flags = _parse(arguments)
    try:
        report = pseudo_label(
            flags.run,
            flags.images,
            flags.output,
            threshold=flags.threshold,
            per_class=flags.per_class or 0,
            against=flags.against,
            distance=flags.hash_distance,
        )
    except OSError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Stopped; nothing was written.", file=sys.stderr)
        return 130
    _print_report(report, flags.run, flags.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
