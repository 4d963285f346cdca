"""Published accuracies on ImageNet and where they were published: reference_results.csv.

One line of the file is one published result: of the paper ("paper-1812.01187"), of GluonCV's
model zoo, and of other frameworks. `source` says where it stands, for the paper by table
("arXiv 1812.01187 T4"). Table 6 has two versions for ResNet-50-D: single runs in the arXiv
version ("... T6"), and means of four runs in that of CVPR ("... T6 CVPR"), whose standard
deviations are in `note`, written as "mean±sd of 4 runs: TOP1±SD/TOP5±SD".
"""

import csv
import dataclasses
import functools
import re
from pathlib import Path

FILE = Path(__file__).with_suffix(".csv")
PAPER = "paper-1812.01187"

_SPREAD = re.compile(r"mean±sd of \d+ runs: [\d.]+±([\d.]+)/[\d.]+±([\d.]+)")


@dataclasses.dataclass(frozen=True)
class Published:
    """A line of the file. All but the accuracies is text as it stands there, "" where unknown.

    Attributes:
      framework, model, recipe, epochs: what was trained, and how.
      top1, top5: percent on the validation split; None where not published.
      params_m: millions of parameters.
      img_size, crop_pct: of the evaluation.
      source: where it is published.
      verified: how it was read there.
      note: anything else.
    """

    framework: str
    model: str
    recipe: str
    epochs: str
    top1: float | None
    top5: float | None = None
    params_m: str = ""
    img_size: str = ""
    crop_pct: str = ""
    source: str = ""
    verified: str = ""
    note: str = ""

    @property
    def spread(self) -> tuple[float, float] | None:
        """Standard deviations of top-1 and top-5, where the result is a mean of several runs."""
        found = _SPREAD.search(self.note)
        return (float(found[1]), float(found[2])) if found else None


@functools.cache
def published_results() -> tuple[Published, ...]:
    """All lines of the file, in its order."""
    with FILE.open(encoding="utf-8", newline="") as lines:
        return tuple(
            Published(**line | {k: float(line[k]) if line[k] else None for k in ("top1", "top5")})
            for line in csv.DictReader(lines)
        )


def find(**columns) -> Published:
    """The one line in which the given columns have the given values.

    Raises:
      LookupError: no line has, or several have; a mistake in the code that asks.
    """
    found = [
        line
        for line in published_results()
        if all(getattr(line, name) == value for name, value in columns.items())
    ]
    if len(found) != 1:
        raise LookupError(f"{len(found)} lines of {FILE.name} have {columns}")
    return found[0]


def paper_result(table: str, model: str, recipe: str) -> Published:
    """A result of the paper, such as ("T5", "ResNet-50-D", "efficient 4.3G")."""
    return find(framework=PAPER, source=f"arXiv 1812.01187 {table}", model=model, recipe=recipe)


def paddleclas_result(model: str, recipe: str) -> Published:
    """A result of PaddleClas; `recipe`, as in the file, tells several of a model apart."""
    return find(framework="PaddleClas", model=model, recipe=recipe)


def gluoncv_result(model: str, epochs: str = "") -> Published:
    """A result of GluonCV's model zoo; `epochs`, as in the file, tells two of a model apart."""
    return find(framework="GluonCV", model=model, epochs=epochs)
