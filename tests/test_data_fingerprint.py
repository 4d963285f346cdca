import dataclasses

import numpy as np

from bot_jax.data.fingerprint import difference, fingerprint
from bot_jax.data.source import Source


def source_of(paths, labels, class_names=("ant", "bee")):
    return Source(
        name="test",
        num_examples=len(paths),
        class_names=class_names,
        describe=lambda index: paths[index],
        labels=np.array(labels, np.int32),
    )


PATHS, LABELS = ["/d/ant/1.jpg", "/d/ant/2.jpg", "/d/bee/1.jpg"], [0, 0, 1]


def test_equal_where_the_folder_moved():
    before = fingerprint(source_of(PATHS, LABELS))
    now = fingerprint(source_of([p.replace("/d/", "/elsewhere/d/") for p in PATHS], LABELS))
    assert difference(before, now) == ""
    assert before["examples"] == 3
    assert [before["classes"][name][0] for name in ("ant", "bee")] == [2, 1]


def test_what_differs_is_named():
    before = fingerprint(source_of(PATHS, LABELS))

    def from_before(*arguments):
        return difference(before, fingerprint(source_of(*arguments)))

    assert from_before([*PATHS, "/d/bee/2.jpg"], [*LABELS, 1]) == (
        "  examples: 3 before, 4 now\n  class 'bee': 1 examples before, 2 now"
    )
    renamed = [*PATHS[:2], "/d/bee/9.jpg"]
    assert from_before(renamed, LABELS) == "  class 'bee': 1 examples as before, but other ones"
    assert from_before(PATHS, LABELS, ("ant", "cat")) == ("  class 'bee': gone\n  class 'cat': new")
    swapped = [PATHS[1], PATHS[0], PATHS[2]]
    assert "other ones" in from_before(swapped, LABELS)
    moved = [PATHS[2], PATHS[0], PATHS[1]]
    assert from_before(moved, [1, 0, 0]) == "  the same examples, in another order"


def test_many_classes_are_not_all_named():
    names = tuple(map(str, range(100)))
    paths, labels = [f"/{name}/a" for name in names], range(100)
    before = fingerprint(source_of(paths, labels, names))
    now = fingerprint(source_of([p + "b" for p in paths], labels, names))
    lines = difference(before, now).splitlines()
    assert len(lines) == 7
    assert lines[-1] == "  and 94 more classes"


def test_a_stream_has_its_number_and_classes():
    stream = dataclasses.replace(source_of(PATHS, LABELS), labels=None)
    assert fingerprint(stream)["examples"] == 3
    fewer = dataclasses.replace(stream, num_examples=2)
    assert difference(fingerprint(stream), fingerprint(fewer)) == "  examples: 3 before, 2 now"
