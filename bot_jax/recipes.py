"""Rows of a table of results: how each is trained, what was published for it, what it costs.

A configuration file with rows has `ROWS`, from the name of a row to a `Row`, and
``get_config(row)``. `help_text` is what ``--config FILE.py:help`` prints; it needs no JAX.
"""

import dataclasses
import inspect
from collections.abc import Callable
from pathlib import Path

from ml_collections import ConfigDict

from bot_jax import cost as costs
from bot_jax.config import load_module
from bot_jax.errors import InputError
from bot_jax.reference_results import Published

_LEGEND = {
    "BN group": "examples that share batch statistics",
    "paper top-1": "percent of the validation split; ± standard deviation of the runs",
    "one run": "the single run of the paper's arXiv version, beside the mean of that of CVPR",
    "GluonCV": "top-1/top-5 of the released model with the same refinements",
    "published": "top-1 (and top-5) of {}",
    "exaFLOP": "training compute, estimated from multiply-accumulates",
    "hours": "on 8 V100, with the authors' program; ~ estimated, - no pace published",
}


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
      make: returns its configuration.
      paper: the paper's result, of a single run.
      paper_mean: the paper's mean of several runs, where there is one.
      gluoncv: the result in GluonCV's model zoo that was trained with the same refinements.
      published: a result of anybody else that was trained so.
      remark: what else is known of the result.
    """

    make: Callable[[], ConfigDict]
    paper: Published | None = None
    paper_mean: Published | None = None
    gluoncv: Published | None = None
    published: Published | None = None
    remark: str = ""

    @property
    def best(self) -> Published | None:
        """The paper's result, the mean of several runs where there is one, or anybody else's."""
        return self.paper_mean or self.paper or self.published


@dataclasses.dataclass(frozen=True)
class Summary:
    """What a person wants to know of a row before it is trained.

    Attributes:
      command: trains it.
      epochs, batch_size, group_size: of its configuration.
      cost: steps, compute and hours, where they are known.
    """

    command: str
    epochs: float
    batch_size: int
    group_size: int
    cost: costs.Cost | None


def summarize(file: str, name: str, row: Row) -> Summary:
    """The summary of the row `name` of the configuration file `file`."""
    config = row.make()
    return Summary(
        command=f"python -m bot_jax.main --config {file}:{name} --workdir runs/{name}",
        epochs=config.epochs,
        batch_size=config.batch_size,
        group_size=config.batch_norm.group_size,
        cost=costs.cost(config),
    )


def help_text(file: str) -> str:
    """What the configuration file `file` is about, its rows as a table, and how to train one.

    Raises:
      InputError: there is no such file, or it has no rows.
    """
    module = load_module(Path(file))
    if not hasattr(module, "ROWS"):
        raise InputError(f"{file} has no rows: leave out ':help'.")
    summaries = {name: summarize(file, name, row) for name, row in module.ROWS.items()}
    cells = [_cells(name, row, summaries[name]) for name, row in module.ROWS.items()]
    columns = [name for name in cells[0] if any(line[name] for line in cells)]
    others = sorted({row.published.framework for row in module.ROWS.values() if row.published})
    legend = [
        (name, text.format(", ".join(others))) for name, text in _LEGEND.items() if name in columns
    ]
    remarks = [(name, row.remark) for name, row in module.ROWS.items() if row.remark]
    example = next(iter(summaries.values())).command
    return "\n\n".join(
        [
            inspect.getdoc(module),
            _table(cells, columns),
            *([_pairs(remarks)] if remarks else []),
            _pairs(legend),
            f"The first row is trained with\n\n    {example}",
        ]
    )


def _cells(name, row, summary):
    best = row.paper_mean or row.paper
    spread1, spread5 = (best and best.spread) or (None, None)
    cost = summary.cost
    hours = cost and cost.hours
    return {
        "row": name,
        "epochs": f"{summary.epochs:g}",
        "batch": f"{summary.batch_size:,}",
        "BN group": f"{summary.group_size}",
        "paper top-1": with_spread(best and best.top1, spread1),
        "top-5": with_spread(best and best.top5, spread5),
        "one run": _pair(row.paper) if row.paper_mean else "",
        "GluonCV": _pair(row.gluoncv),
        "published": _pair(row.published),
        "steps": f"{cost.steps:,}" if cost else "",
        "exaFLOP": f"{cost.exaflop:.2f}" if cost else "",
        "hours": f"{'~' if cost.estimated else ''}{hours:.1f}" if hours else "",
    }


def with_spread(value: float | None, spread: float | None) -> str:
    """A percentage and its standard deviation as text; "" for None."""
    if value is None:
        return ""
    return f"{value:.2f}" if spread is None else f"{value:.2f}±{spread:.2f}"


def _pair(published):
    return "/".join(f"{x:.2f}" for x in (published.top1, published.top5) if x) if published else ""


# Numbers that are added or compared as sizes stand to the right; a spread would move an accuracy.
_RIGHT = {"epochs", "batch", "BN group", "steps", "exaFLOP", "hours"}


def _table(cells, columns):
    lines = [dict(zip(columns, columns, strict=True)), *cells]
    widths = {name: max(len(line[name]) for line in lines) for name in columns}

    def text(name, line):
        value = line[name] or "-"
        return value.rjust(widths[name]) if name in _RIGHT else value.ljust(widths[name])

    return "\n".join("  ".join(text(name, line) for name in columns).rstrip() for line in lines)


def _pairs(pairs):
    width = max(len(name) for name, _ in pairs)
    return "\n".join(f"{name.ljust(width)}  {text}" for name, text in pairs)
