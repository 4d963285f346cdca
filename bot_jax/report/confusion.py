"""The confusion matrix of each run, as a table or as a picture, and what is confused most."""

import numpy as np

from bot_jax.classes import class_results, read_confusion, worst_first
from bot_jax.errors import InputError
from bot_jax.report.markup import OPENED, Markup, block, element, rows_table, shorten
from bot_jax.report.pictures import png
from bot_jax.report.runs import Run
from bot_jax.report.tables import run_label

# More classes are a picture, and so are fewer where all tables together have more cells.
_TABLE_CLASSES, _TABLE_CELLS = 25, 5000
# Sides of the picture in pixels; several classes share one where there are more.
_SIDES = (500, 300, 200, 120, 60)
_LISTED = 10
_RIGHT, _WRONG = (30, 120, 210), (222, 96, 10)


def sections(runs: list[Run], budget: int) -> list[Markup]:
    """For each run its matrix, or a sentence that says why there is none.

    Args:
      runs: of the page.
      budget: characters that all pictures together may have.
    """
    found = []
    for run in runs:
        try:
            found.append(read_confusion(run.directory, _split(run)))
        except (InputError, OSError, ValueError) as error:
            found.append(str(error))
    cells = sum(len(own[0]) ** 2 for own in found if not isinstance(own, str))
    blocks = []
    for i, (run, own) in enumerate(zip(runs, found, strict=True)):
        if isinstance(own, str):
            content = element("p", own, class_="missing")
        elif not own[2].sum():
            content = element("p", "No example was evaluated.", class_="missing")
        else:
            as_table = len(own[0]) <= _TABLE_CLASSES and cells <= _TABLE_CELLS
            drawn = matrix_table(*own) if as_table else matrix_picture(*own, budget // len(runs))
            content = element("div", [drawn, *_lists(*own)], class_="beside")
        blocks.append(block(run_label(i, run), content, opened=len(runs) <= OPENED or not i))
    return blocks


def _split(run):
    data = run.config.get("data")
    of_config = data.get("eval_split") if isinstance(data, dict) else None
    split = of_config or (run.result or {}).get("split")
    if not isinstance(split, str):
        raise InputError("Without a configuration it is not known which split was evaluated.")
    return split


def shares_of_class(num_classes: int, pairs, counts) -> np.ndarray:
    """The part of the examples of the true class that each pair is, float64 [m]."""
    examples = np.bincount(pairs[:, 0], weights=counts, minlength=num_classes)
    return counts / np.maximum(examples[pairs[:, 0]], 1)


def matrix_table(names, pairs, counts) -> Markup:
    """A row for each true class, a column for each class that images are taken for."""
    shares = shares_of_class(len(names), pairs, counts)
    cells = {
        (int(true), int(predicted)): (int(count), float(share))
        for (true, predicted), count, share in zip(pairs, counts, shares, strict=True)
        if count
    }

    def cell(true, predicted):
        if (true, predicted) not in cells:
            return element("td")
        count, share = cells[true, predicted]
        opacity = 0.1 + 0.8 * share**0.5  # so that one mistake among a thousand is seen
        kind = "right" if true == predicted else "wrong"
        return element(
            "td",
            f"{count:,}",
            class_=f"{kind} strong" if opacity > 0.6 else kind,
            style=f"--opacity:{opacity:.2f}",
            title=f"{shorten(names[true])} taken for {shorten(names[predicted])}: "
            f"{share:.1%} of its images",
        )

    short = [shorten(name, 20) for name in names]
    turned = "turned" if max(map(len, short)) > 5 else None
    lines = [
        element(
            "tr",
            element("th", short[true], scope="row"),
            [cell(true, predicted) for predicted in range(len(names))],
        )
        for true in range(len(names))
    ]
    head = [element("th", element("span", name), scope="col", class_=turned) for name in short]
    head = element("thead", element("tr", element("td"), head))
    table = element("table", head, element("tbody", lines))
    words = "Rows: the true class. Columns: what its images are taken for."
    scrolls = element("div", table, class_="scroll matrix", tabindex="0")
    return element("div", element("h4", words), scrolls)


def matrix_picture(names, pairs, counts, budget: int) -> Markup:
    """The same as a picture of opacities: of the examples of a class, the root of a pair's part."""
    for side in _SIDES:
        address = png(draw_matrix(len(names), pairs, counts, side))
        if len(address) <= budget:
            break
    words = f"confusion matrix of {len(names):,} classes"
    note = f"{len(names):,} classes; from top to bottom the true one, from left to right what its "
    note += "images are taken for, in blue where that is right"
    return element(
        "figure",
        element("img", src=address, alt=words, class_="matrix"),
        element("figcaption", note),
    )


def draw_matrix(num_classes: int, pairs, counts, side: int) -> np.ndarray:
    """Pixels uint8 [n, n, 4], n at most `side`; blue on the diagonal, orange elsewhere.

    Where neighbouring classes share a row and a column of pixels, their parts are averaged over the
    classes of the row.
    """
    per_pixel = -(-num_classes // side)
    size = -(-num_classes // per_pixel)
    shares = np.zeros((size, size))
    right = np.zeros((size, size))
    own = shares_of_class(num_classes, pairs, counts) / per_pixel
    places = tuple((pairs // per_pixel).T)
    hits = pairs[:, 0] == pairs[:, 1]
    np.add.at(shares, places, own)
    np.add.at(right, places, own * hits)
    blue = (right / np.maximum(shares, 1e-12))[..., None]
    colors = blue * np.array(_RIGHT) + (1 - blue) * np.array(_WRONG)
    opacities = 255 * np.sqrt(shares.clip(0, 1))[..., None]
    return np.rint(np.concatenate([colors, opacities], axis=-1)).astype(np.uint8)


def _lists(names, pairs, counts):
    """What is confused most, and the classes that are told worst."""
    shares = shares_of_class(len(names), pairs, counts)
    wrong = np.flatnonzero((pairs[:, 0] != pairs[:, 1]) & (counts > 0))
    most = wrong[np.lexsort((pairs[wrong, 1], pairs[wrong, 0], -counts[wrong]))][:_LISTED]
    rows = [
        [
            shorten(names[pairs[i, 0]], 40),
            shorten(names[pairs[i, 1]], 40),
            f"{counts[i]:,}",
            f"{100 * shares[i]:.1f}",
        ]
        for i in most
    ]
    results = [r for r in worst_first(class_results(names, pairs, counts)) if r.examples]
    worst = [
        [shorten(r.name, 40), f"{r.examples:,}", *map(_percent, (r.recall, r.precision, r.f1))]
        for r in results[:_LISTED]
    ]
    confused = rows_table(["class", "taken for", "images", "% of class"], rows, class_="numbers")
    told = rows_table(["class", "images", "recall", "precision", "F1"], worst, class_="numbers")
    some = f"the {_LISTED} worst of {len(results):,}" if len(results) > _LISTED else "worst first"
    return [
        element("div", element("h4", "Confused most"), confused) if rows else None,
        element("div", element("h4", f"Classes in percent, {some}"), told),
    ]


def _percent(value):
    return "–" if value is None else f"{value:.1f}"
