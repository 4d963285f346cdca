"""Whether one group of runs is as good as another, by the spread of repeated runs.

Of n runs with mean x and m with mean y, the interval for the true difference is

    x - y  ±  t(0.975, f) * sqrt(s_x^2 / n + s_y^2 / m)

with both spreads known f as Welch (1947) has it. Where y has no spread, as most published numbers,
it is a single draw of a training that is taken to spread as ours does: s_y = s_x, m = 1, f = n - 1.
(Without that a single lucky run would count as the truth.) A single run of x beside several of y is
taken to spread as those do.
"""

import dataclasses
import math
import statistics

from bot_jax.compare.group import Group, in_words, mean_and_spread

REPRODUCED, NOT_REPRODUCED, CANNOT_TELL = "reproduced", "not reproduced", "cannot tell"
# Where the other is not what this one should have come to.
AS_GOOD, WORSE = "at least as good", "worse"
_LABELS = {
    "model": "model",
    "data": "data",
    "examples": "examples",
    "epochs": "epochs",
    "image_size": "pixels",
    "crop": "crop",
    "interpolation": "interpolation",
    "label_smoothing": "label smoothing",
    "label_smoothing_form": "form of label smoothing",
}


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A difference of top-1 in points: `of` minus `to`.

    Attributes:
      of, to: the groups.
      difference: of the means.
      interval: for the true difference, 95 %; None where there is no spread to judge by.
      marks: what is not like for like, or not known to be, in words.
      verdict: "reproduced", "not reproduced" or "cannot tell"; or "at least as good" or "worse".
      why: of "cannot tell", and of a result that is better.
    """

    of: Group
    to: Group
    difference: float
    interval: tuple[float, float] | None
    marks: tuple[str, ...]
    verdict: str
    why: str


def interval(
    ours, theirs, their_spread: float | None = None, their_runs: int = 1
) -> tuple[float, float] | None:
    """The 95 % interval of the difference of two means, or None.

    Args:
      ours, theirs: percent of each run; of a published mean that alone.
      their_spread, their_runs: its standard deviation and number of runs, where they are published.
    """
    from scipy import stats

    n, m = len(ours), max(len(theirs), their_runs)
    _, s = mean_and_spread(ours)
    if len(theirs) > 1:
        _, their_spread = mean_and_spread(theirs)
    if s is None and len(theirs) > 1:
        s, their_spread, n, m = their_spread, None, m, n  # the same with the sides exchanged
    if s is None:
        return None
    if their_spread is None or m < 2:
        error, freedom = s * math.sqrt(1 / n + 1 / m), n - 1
    else:
        parts = s**2 / n, their_spread**2 / m
        error = math.sqrt(sum(parts))
        below = parts[0] ** 2 / (n - 1) + parts[1] ** 2 / (m - 1)
        freedom = sum(parts) ** 2 / below if below else 1
    if not error:  # runs that do not differ say nothing of how they spread
        return None
    half = float(stats.t.ppf(0.975, freedom)) * error
    difference = statistics.mean(ours) - statistics.mean(theirs)
    return difference - half, difference + half


def marks(of: Group, to: Group) -> tuple[str, ...]:
    """What is not like for like, or not known to be."""
    found = []
    if of.changed != to.changed:
        ours, theirs = (in_words(group.changed) or "nothing" for group in (of, to))
        found.append(f"changed in the recipe: {ours} / {theirs}")
    for name, label in _LABELS.items():
        ours, theirs = getattr(of, name), getattr(to, name)
        if ours is None and theirs is None:
            continue
        if name == "label_smoothing_form" and not (of.label_smoothing and to.label_smoothing):
            continue  # the form of none
        if not _is_same(name, ours, theirs):
            found.append(f"{label} {_text(ours)} / {_text(theirs)}")
    return tuple(found)


def _is_same(name, one, other):
    numbers = isinstance(one, float | int) and isinstance(other, float | int)
    if numbers and name != "examples":
        return math.isclose(one, other, rel_tol=2e-3)
    return one == other


def _text(value):
    if value is None:
        return "?"
    return f"{value:.4g}" if isinstance(value, float) else f"{value}"


def compare(
    of: Group,
    to: Group,
    margin: float,
    spread: float | None = None,
    runs: int = 1,
    same_recipe: bool = True,
) -> Comparison:
    """Compares top-1 of two groups.

    Args:
      of, to: the groups; `to` is the reference.
      margin: points that a result may be below the reference and still count as reproduced.
      spread, runs: standard deviation of the reference where it is a published mean of some runs.
      same_recipe: whether the reference is of the same recipe.

    Returns:
      Reproduced where all of the interval is above minus `margin`, not reproduced where all of it
      is below, else, and where there is no interval, or data or number of examples differ,
      undecided. Of another recipe or of one that was changed, of another model, length or image
      size, or of the same framework, nothing is reproduced: it is at least as good, or worse.
    """
    difference = statistics.mean(of.top1) - statistics.mean(to.top1)
    found, where = marks(of, to), interval(of.top1, to.top1, spread, runs)
    known = None not in (of.examples, to.examples)
    other_data = of.data is None or of.data != to.data
    if not same_recipe:
        known_recipes = of.recipe and to.recipe
        found = ("another recipe" if known_recipes else "recipe not known", *found)
    reproduces = same_recipe and of.framework != to.framework and not _differ(of, to)
    # Of other images accuracies say nothing of each other, whatever else is alike.
    if other_data or (known and of.examples != to.examples):
        verdict, why = CANNOT_TELL, "other data, or not known which"
    elif where is None:
        why = "one run has no spread" if len(of.top1) < 2 else "equal runs have no spread"
        verdict = CANNOT_TELL
    elif where[0] > -margin:
        verdict, why = REPRODUCED if reproduces else AS_GOOD, "better" if where[0] > 0 else ""
    elif where[1] < -margin:
        verdict, why = NOT_REPRODUCED if reproduces else WORSE, ""
    else:
        verdict, why = CANNOT_TELL, "the interval is too wide"
    return Comparison(of, to, difference, where, found, verdict, why)


def _differ(of, to):
    """Whether it is known that they are not of one recipe, model, length and image size."""
    for name in ("model", "epochs", "image_size"):
        one, other = getattr(of, name), getattr(to, name)
        if None not in (one, other) and not _is_same(name, one, other):
            return True
    return of.changed != to.changed
