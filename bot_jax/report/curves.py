"""Learning curves as SVG: loss, top-1 and learning rate against epochs, a colour a run."""

import dataclasses
import math

from bot_jax.plot import PANELS
from bot_jax.report.markup import Markup, element
from bot_jax.report.runs import Run, is_number
from bot_jax.report.tables import run_label
from bot_jax.workdir import TRAIN_CLEAN

# Of the picture, in its own units; on a telephone one of them is about a pixel.
_WIDTH, _HEIGHT = 380, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 10, 10, 36
# A line of more points is thinned out: there are no more pixels.
_MOST_POINTS = 300
# The points of a line of few are marked.
_MARKED_POINTS = 25
_KINDS = (
    ("evaluation", "evaluation split"),
    ("train", "training (under mixup, the weight of the predicted class)"),
    (TRAIN_CLEAN, "training images seen as in an evaluation"),
)
_RATE = "learning_rate"


def panels(runs: list[Run]) -> Markup:
    """The three pictures, and their legend."""
    lines = [curve for i, run in enumerate(runs) for curve in curves(i, run)]
    if not lines:
        return element("p", "No run has logged anything yet.", class_="missing")
    drawn = [
        _panel(label, [line for line in lines if line.field == field], field == _RATE)
        for field, label in PANELS
        if any(line.field == field for line in lines)
    ]
    shown = sorted({line.run for line in lines})
    buttons = [
        element("button", run_label(i, runs[i]), type="button", data_run=i, aria_pressed="true")
        for i in shown
    ]
    kinds = [
        element("span", _sample(kind), " ", words)
        for kind, words in _KINDS
        if any(line.kind == kind for line in lines)
    ]
    return element(
        "div",
        element("div", buttons, class_="legend", id="runs"),
        element("div", kinds, class_="legend kinds"),
        element("div", drawn, class_="panels"),
    )


@dataclasses.dataclass(frozen=True)
class Curve:
    """A line of a picture.

    Attributes:
      field: what it is of, see `plot.PANELS`.
      run: number of its run.
      kind: how it is drawn: "train", `workdir.TRAIN_CLEAN`, "evaluation", or "rate".
      split: whose it is.
      points: an epoch and a value each.
    """

    field: str
    run: int
    kind: str
    split: str
    points: list[tuple[float, float]]


def curves(i: int, run: Run) -> list[Curve]:
    """The lines of the run number `i`; what is no finite number is left out of them."""
    found = []
    for split in dict.fromkeys(line["split"] for line in run.metrics):
        of_split = split if split in ("train", TRAIN_CLEAN) else "evaluation"
        lines = [x for x in run.metrics if x["split"] == split and is_number(x["epoch"])]
        for field, _ in PANELS:
            points = [(x["epoch"], x[field]) for x in lines if is_number(x.get(field))]
            if points:
                kind = "rate" if field == _RATE else of_split
                found.append(Curve(field, i, kind, split, thin_out(points)))
    return found


def thin_out(points: list) -> list:
    """Every n-th point and the last one, so that there are at most `_MOST_POINTS` + 1."""
    every = -(-len(points) // _MOST_POINTS)
    kept = points[::every]
    return kept if kept[-1] == points[-1] else [*kept, points[-1]]


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round numbers, evenly spaced, the first and last around `low` to `high`."""
    if high - low <= max(1e-9 * max(abs(low), abs(high)), 1e-30):  # a line that is level
        low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
    rough = (high - low) / count
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * unit for factor in (1, 2, 2.5, 5, 10) if factor * unit >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [n * step for n in range(first, last + 1)]


def _tick_text(value, step):
    decimals = len(f"{step:.10f}".rstrip("0").partition(".")[2])
    return f"{value:,.{decimals}f}" if decimals <= 4 else f"{value:.3g}"


def _panel(label, lines, from_zero):
    """One picture; what `report.js` needs to read values off it are its data attributes."""
    epochs = [x for line in lines for x, _ in line.points]
    values = [y for line in lines for _, y in line.points]
    x_low, x_high = min(0, *epochs), max(epochs)
    x_high = x_high if x_high > x_low else x_low + 1
    y_ticks = ticks(min([0, *values] if from_zero else values), max(values))
    y_low, y_high = y_ticks[0], y_ticks[-1]
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def x_of(epoch):
        return round(_LEFT + (epoch - x_low) / (x_high - x_low) * width, 2)

    def y_of(value):
        return round(_TOP + (y_high - value) / (y_high - y_low) * height, 2)

    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    axes = []
    for value in y_ticks:
        y = y_of(value)
        axes.append(element("line", x1=_LEFT, x2=right, y1=y, y2=y))
        text = _tick_text(value, y_ticks[1] - y_ticks[0])
        axes.append(element("text", text, x=_LEFT - 6, y=y + 4, text_anchor="end"))
    x_ticks = [value for value in ticks(x_low, x_high, 6) if x_low <= value <= x_high * 1.0001]
    for value in x_ticks:
        x = x_of(value)
        axes.append(element("line", x1=x, x2=x, y1=bottom, y2=bottom + 4))
        text = _tick_text(value, x_ticks[1] - x_ticks[0])
        axes.append(element("text", text, x=x, y=bottom + 17, text_anchor="middle"))
    middle = (_LEFT + right) / 2
    axes.append(element("text", "epoch", x=middle, y=_HEIGHT - 3, text_anchor="middle"))
    drawn = [_curve(line, x_of, y_of) for line in lines]
    picture = element(
        "svg",
        element("g", axes, class_="axes"),
        drawn,
        element("line", class_="guide", y1=_TOP, y2=bottom, x1=0, x2=0),
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        role="img",
        aria_label=f"{label} by epoch",
        data_x=f"{x_low} {x_high} {_LEFT} {right}",
        data_y=f"{y_low} {y_high} {bottom} {_TOP}",
    )
    return element(
        "figure", element("figcaption", label), picture, element("output", class_="values")
    )


def _curve(line, x_of, y_of):
    places = [(x_of(x), y_of(y)) for x, y in line.points]
    path = "M" + "L".join(f"{x:g} {y:g}" for x, y in places)
    is_marked = line.kind in ("evaluation", TRAIN_CLEAN) and len(places) <= _MARKED_POINTS
    marks = []
    if is_marked or len(places) == 1:
        marks = [element("circle", cx=f"{x:g}", cy=f"{y:g}", r=2.5) for x, y in places]
    return element(
        "g",
        element("title", line.split),
        element("path", d=path),
        marks,
        class_=f"curve run-{line.run} {line.kind}",
        data_run=line.run,
    )


def _sample(kind):
    path = element("path", d="M1 6L29 6")
    mark = element("circle", cx=15, cy=6, r=2.5) if kind != "train" else None
    curve = element("g", path, mark, class_=f"curve {kind}")
    return element("svg", curve, viewBox="0 0 30 12", class_="sample", aria_hidden="true")
