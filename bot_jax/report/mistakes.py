"""The mistakes that a run is most sure of, as pictures: a part of them are wrong labels."""

import dataclasses
from pathlib import Path

import numpy as np

from bot_jax.report.markup import OPENED, Markup, block, element, shorten
from bot_jax.report.pictures import jpegs
from bot_jax.report.runs import Run, is_number
from bot_jax.report.tables import run_label


@dataclasses.dataclass(frozen=True)
class Mistake:
    """An image that is taken for something else.

    Attributes:
      image: uint8 [H, W, 3], as the model saw it.
      true, predicted: names of classes.
      confidence: the probability of the predicted class.
      file: which image it is.
    """

    image: np.ndarray
    true: str
    predicted: str
    confidence: float
    file: str


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What became of all images of a split.

    Attributes:
      mistakes: the most confident ones, these first.
      split: whose images.
      examples, right: how many images there are, and how many of them are told.
    """

    mistakes: list[Mistake]
    split: str
    examples: int
    right: int


def find_mistakes(directory: Path, most: int) -> Evaluation:
    """Evaluates a finished run again.

    Args:
      directory: its workdir.
      most: how many mistakes to keep.

    Raises:
      InputError: the run is not finished, or its checkpoint or its data are not there.
    """
    import jax
    from ml_collections import ConfigDict

    from bot_jax import parallel
    from bot_jax.data.pipeline import eval_batches
    from bot_jax.data.source import make_source
    from bot_jax.errors import InputError
    from bot_jax.eval_step import make_eval_step, zero_totals
    from bot_jax.export import run_weights
    from bot_jax.models.registry import get_model
    from bot_jax.progress import ImageProgress
    from bot_jax.workdir import read_config

    weights = run_weights(directory)
    config = ConfigDict(read_config(directory))
    config.data.on_bad_image = "skip"
    source = make_source(config.data, config.data.eval_split)
    names = weights.class_names
    if tuple(source.class_names) != tuple(names):
        raise InputError(f"{source.name} does not have the classes that it was trained on.")
    layout = parallel.evaluation_layout(config.eval_batch_size)
    rows = parallel.rows_of_this_process(layout)
    model = get_model(weights.model, num_classes=len(names), **weights.options)
    eval_step = make_eval_step(model, layout)
    variables = parallel.replicate(weights.variables, layout)
    totals = parallel.replicate(zero_totals(), layout)
    found: list[tuple[float, int, int, int, np.ndarray]] = []
    examples = right = done = 0
    with ImageProgress("evaluated", source.num_examples) as progress:
        for batch in eval_batches(source, config.data, batch_size=layout.batch_size, rows=rows):
            on_device = {name: batch[name] for name in ("image", "label")}
            totals, each = eval_step(totals, parallel.put_batch(on_device, layout), variables)
            each, counts = jax.device_get(each), batch["label"] >= 0
            wrong = counts & (each["predicted"] != batch["label"])
            examples += int(counts.sum())
            right += int((counts & ~wrong).sum())
            for i in np.flatnonzero(wrong):
                sure, pair = float(each["confidence"][i]), (batch["label"][i], each["predicted"][i])
                found.append((sure, int(batch["index"][i]), *map(int, pair), batch["image"][i]))
            # Of equally confident ones the first of the split.
            found = sorted(found, key=lambda mistake: (-mistake[0], mistake[1]))[:most]
            done += int((batch["index"] >= 0).sum())
            progress.at(done)
    mistakes = [
        Mistake(image, names[true], names[predicted], sure, source.describe(index))
        for sure, index, true, predicted, image in found
    ]
    return Evaluation(mistakes, config.data.eval_split, examples, right)


def sections(runs: list[Run], found: list[Evaluation | str], budget: int) -> list[Markup]:
    """For each run its mistakes, or a sentence that says why there are none.

    Args:
      runs: of the page.
      found: for each run its evaluation, or why there is none.
      budget: characters that all pictures together may have.
    """
    images = [m.image for own in found if isinstance(own, Evaluation) for m in own.mistakes]
    addresses = iter(jpegs(images, budget) if images else [])
    blocks = []
    for i, (run, own) in enumerate(zip(runs, found, strict=True)):
        if isinstance(own, str):
            content = [element("p", own, class_="missing")]
        else:
            cards = [_card(mistake, next(addresses)) for mistake in own.mistakes]
            content = [_summary(run, own), element("div", cards, class_="cards")]
        blocks.append(block(run_label(i, run), content, opened=len(runs) <= OPENED or not i))
    return blocks


def _summary(run, own):
    wrong = own.examples - own.right
    text = f"{own.right:,} of {own.examples:,} images of {own.split} are recognised: "
    text += f"{100 * own.right / max(own.examples, 1):.2f} %"
    before = (run.result or {}).get("top1")
    text += f" ({before:.2f} % when it was trained). " if is_number(before) else ". "
    if len(own.mistakes) < wrong:
        text += f"Of the {wrong:,} mistakes the {len(own.mistakes)} that it is most sure of:"
    else:
        text += "All mistakes, those that it is most sure of first:" if wrong else "No mistake."
    return element("p", text, class_="note")


def _card(mistake, address):
    words = f"{shorten(mistake.true)} taken for {shorten(mistake.predicted)}"
    side = max(mistake.image.shape)
    return element(
        "figure",
        element("img", src=address, alt=words, class_="small" if side <= 64 else None),
        element(
            "figcaption",
            element("b", shorten(mistake.true, 30)),
            " taken for ",
            element("b", shorten(mistake.predicted, 30)),
            f", {100 * mistake.confidence:.1f}\N{NO-BREAK SPACE}%",
            element("small", shorten(mistake.file, 44), title=mistake.file),
        ),
    )
