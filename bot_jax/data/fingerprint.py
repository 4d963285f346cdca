"""Which data a run is of, in a few numbers a class, so that a run goes on with what it began with.

The position of an example is its number in the source. One file more or less in a folder moves all
that come after it, and a run that goes on would see other examples than it should.
"""

import hashlib

import numpy as np

from bot_jax.data.source import Source

# So many classes that differ are named in a message.
_SHOWN = 5


def fingerprint(source: Source) -> dict:
    """What tells the examples of a source from others, for `difference`.

    Names and labels count, in their order; what is in the files does not. Of a path its last two
    parts are the name, so that the data may move. A stream, whose examples are not known before
    they are read, has their number and the classes only.

    Returns:
      {"examples": number, "order": digest of all labels, "classes": {class: [number of examples,
      digest of their names]}}, digests as 16 hexadecimal digits.
    """
    if source.labels is None:
        classes = {name: [None, ""] for name in source.class_names}
        return {"examples": source.num_examples, "order": "", "classes": classes}
    labels = np.asarray(source.labels)
    by_label = np.argsort(labels, kind="stable")
    borders = np.searchsorted(labels[by_label], np.arange(len(source.class_names) + 1))
    classes = {}
    for number, name in enumerate(source.class_names):
        examples = by_label[borders[number] : borders[number + 1]].tolist()
        names = "\n".join(_short(source.describe(index)) for index in examples)
        classes[name] = [len(examples), _digest(names.encode("utf-8", "surrogateescape"))]
    order = _digest(labels.astype("<i4").tobytes())
    return {"examples": source.num_examples, "order": order, "classes": classes}


def _short(name):
    return "/".join(name.rsplit("/", 2)[-2:])


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def difference(before: dict, now: dict) -> str:
    """What differs between two fingerprints, a line each; "" where they are equal."""
    if before == now:
        return ""
    lines = []
    if before["examples"] != now["examples"]:
        lines.append(f"  examples: {before['examples']:,} before, {now['examples']:,} now")
    names = dict.fromkeys([*before["classes"], *now["classes"]])
    for name in names:
        old, new = before["classes"].get(name), now["classes"].get(name)
        if old is None or new is None:
            lines.append(f"  class {name!r}: {'new' if old is None else 'gone'}")
        elif old[0] != new[0]:
            lines.append(f"  class {name!r}: {old[0]:,} examples before, {new[0]:,} now")
        elif old != new:
            lines.append(f"  class {name!r}: {new[0]:,} examples as before, but other ones")
    more = len(lines) - _SHOWN - 1
    if more > 0:
        lines = [*lines[: _SHOWN + 1], f"  and {more} more classes"]
    return "\n".join(lines or ["  the same examples, in another order"])
