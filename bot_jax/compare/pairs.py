"""Which groups are put beside each other."""

import math
import re

from bot_jax.compare.group import OURS, Group
from bot_jax.compare.published import as_group, references
from bot_jax.compare.verdict import Comparison, compare

_UNKNOWN = 1.0  # apart, of a number that one side does not say


def comparisons(groups: list[Group], sources: list[str], margin: float) -> list[Comparison]:
    """All that is compared, in the order of `groups`.

    Each group with what is published of its model, and with what each other framework has that is
    nearest to it; and one's own groups, or where there are none all of them, with the first.

    Args:
      groups: one's own and of others.
      sources: of published results, names in `published.SOURCES`.
      margin: see `verdict.compare`.

    Raises:
      InputError: a source is not known.
    """
    own = [group for group in groups if group.framework == OURS]
    others = [group for group in groups if group.framework != OURS] if own else []
    own = own or groups
    found = []
    for group in groups:
        found += [_with_published(group, *line, margin) for line in references(group, sources)]
        if group in others:
            continue
        for framework in dict.fromkeys(other.framework for other in others):
            candidates = [other for other in others if other.framework == framework]
            to = min(candidates, key=lambda other: distance(group, other))
            found.append(compare(group, to, margin, same_recipe=_same_recipe(group, to)))
    for group in own[1:]:
        found.append(compare(group, own[0], margin, same_recipe=_same_recipe(group, own[0])))
    return found


def _with_published(group, line, same_recipe, margin):
    spread = line.spread and line.spread[0]
    runs = re.search(r"of (\d+) runs", line.note) if spread else None
    options = {"spread": spread, "runs": int(runs[1]) if runs else 1, "same_recipe": same_recipe}
    return compare(group, as_group(line), margin, **options)


def _same_recipe(of, to):
    return bool(of.recipe) and of.recipe == to.recipe


def distance(of: Group, to: Group) -> tuple:
    """How far two groups are from being alike: smaller is nearer.

    First by model, then by recipe, epochs, image size and crop, numbers by the logarithm of their
    ratio.
    """
    fields = ("epochs", "image_size", "crop")
    apart = (_apart(*(getattr(group, name) for group in (of, to))) for name in fields)
    return (of.model != to.model, not _same_recipe(of, to), *apart)


def _apart(one, other):
    if one == other:
        return 0.0
    return abs(math.log(one / other)) if one and other else _UNKNOWN
