"""What augmentation does to images, step by step, with the random numbers of training.

The first row is what an evaluation sees, the second one the crops of training. Each further one has
one augmentation more, in the order of application, and the last one is what the model is trained
on. What is applied by chance is applied to some of the images only.
"""

import json

import numpy as np

from bot_jax.report.markup import OPENED, Markup, block, element, shorten
from bot_jax.report.pictures import jpegs
from bot_jax.report.runs import Run
from bot_jax.report.tables import run_label
from bot_jax.show import Row, describe_label, describe_options, first_rows

# On a telephone two rows of four. They are mixed within fours.
_IMAGES = 8
NOTE = (
    "The same images with one augmentation after the other, by chance as in training, halfway "
    "through the run. The last row is what the model is trained on."
)
# So many pictures are made; with the smallest ones there are a page has room for them.
_MOST_PICTURES = 500
_SEEN_BY = ("augment", "data", "epochs", "mixing")


def make_steps(directory) -> list[Row]:
    """The rows of a run, of images halfway through it.

    Raises:
      InputError: its data are not there, or a value does not fit.
    """
    from ml_collections import ConfigDict

    from bot_jax.augment.registry import chosen
    from bot_jax.extensions import import_extensions
    from bot_jax.training_images import load_images, prepare_images
    from bot_jax.workdir import read_config

    config = ConfigDict(read_config(directory))
    import_extensions(config.get("imports", ""))  # older runs have no such field
    view, batch, setup = load_images(config, _IMAGES)
    names = setup.source.class_names
    rows, augment = first_rows(config.data, view, batch, names), {}
    for on in ("pixels", "normalized", "batch"):
        for augmentation, options in chosen(config.augment, on):
            augment[augmentation.name] = config.augment[augmentation.name].to_dict()
            images, shares = prepare_images(config, setup, batch, augment, config.epochs / 2)
            captions = [describe_label(own, names) for own in shares]
            details = describe_options(augmentation, options)
            rows.append(Row(augmentation.name, details, images, captions))
    return rows


def same_images(runs: list[Run]) -> list[list[int]]:
    """The numbers of the runs whose images are augmented alike, a list for each way."""
    groups: dict[str, list[int]] = {}
    for i, run in enumerate(runs):
        groups.setdefault(json.dumps([run.config.get(part) for part in _SEEN_BY]), []).append(i)
    return list(groups.values())


def is_shown(runs: list[Run], groups: list[list[int]]) -> list[bool]:
    """Whether the images of each of `same_images` are shown; the first ones are."""
    counts = [_IMAGES * (2 + len(runs[group[0]].config.get("augment", ()))) for group in groups]
    return [not i or sum(counts[: i + 1]) <= _MOST_PICTURES for i in range(len(groups))]


def sections(runs: list[Run], groups, found: list[list[Row] | str], budget: int) -> list[Markup]:
    """For each group of runs its rows, or a sentence that says why there are none.

    Args:
      runs: of the page.
      groups: of `same_images`.
      found: for each group what `make_steps` made of one of it, or why it cannot.
      budget: characters that all pictures together may have.
    """
    images = [image for own in found if not isinstance(own, str) for r in own for image in r.images]
    addresses = iter(jpegs(images, budget) if images else [])
    blocks = []
    for group, own in zip(groups, found, strict=True):
        labels = [[run_label(i, runs[i]), " "] for i in group]
        if isinstance(own, str):
            content = element("p", own, class_="missing")
        else:
            drawn = [_row(row, i and own[i - 1], addresses) for i, row in enumerate(own)]
            content = element("div", drawn, class_="steps")
        blocks.append(block(labels, content, opened=len(groups) <= OPENED or not blocks))
    return blocks


def _row(row, before, addresses):
    """One row; `before` is the row before it, or 0."""
    same = np.zeros(len(row.images), bool)
    if before:
        same = (row.images == before.images).all(axis=(1, 2, 3))
    figures = []
    for i, image in enumerate(row.images):
        caption = "" if before and row.captions[i] == before.captions[i] else row.captions[i]
        picture = element(
            "img",
            src=next(addresses),
            alt=f"{row.title}: {row.captions[i]}",
            class_="small" if max(image.shape) <= 64 else None,
        )
        words = "unchanged" if same[i] else shorten(caption, 40)
        figures.append(
            element(
                "figure",
                picture,
                element("figcaption", words),
                class_="unchanged" if same[i] else None,
            )
        )
    details = element("small", shorten(", ".join(row.details), 200))
    return element(
        "div",
        element("div", element("b", row.title), details, class_="what"),
        element("div", figures, class_="strip"),
        class_="step",
    )
