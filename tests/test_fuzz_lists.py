"""Lists of any content: examples inside of the folder with a label in range, or an `InputError`.

    launch/test.sh tests/test_fuzz_lists.py --fuzz-cases 20000

tries a quarter of that of each of the three kinds, instead of 512. They are always the same.
"""

import os
import tracemalloc

import numpy as np
import pytest
from data_helpers import data_config
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bot_jax.data import list_file
from bot_jax.errors import InputError

MOST_CLASSES = 100_000
MOST_MEMORY = 64 * 2**20  # bytes, for one list


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with links out of it, and something there."""
    outside = tmp_path_factory.mktemp("outside")
    (outside / "secret.jpg").write_bytes(b"secret")
    root = tmp_path_factory.mktemp("root")
    (root / "a").mkdir()
    for name in ("1.jpg", "a/2.jpg"):
        (root / name).write_bytes(b"image")
    (root / "link").symlink_to(outside)
    (root / "a/link.jpg").symlink_to(outside / "secret.jpg")
    (root / "a/fine.jpg").symlink_to(root / "1.jpg")
    return root


def check(folder, text: bytes, classes: bytes | None = None):
    """Opens a list with this content; returns whether it was accepted."""
    (folder / "train.txt").write_bytes(text)
    (folder / "classes.txt").unlink(missing_ok=True)
    if classes is not None:
        (folder / "classes.txt").write_bytes(classes)
    source, message = _open(folder)
    if source is None:
        assert str(folder) in message
        assert message.isprintable()
        assert len(message) < 20_000
        return False
    assert 1 <= source.num_examples <= text.count(b"\n") + text.count(b"\r") + 1
    assert 1 <= len(source.class_names) <= MOST_CLASSES
    assert source.labels.min() >= 0
    assert source.labels.max() < len(source.class_names)
    root = os.path.realpath(folder) + "/"
    for i in range(source.num_examples):
        assert (os.path.realpath(source.describe(i)) + "/").startswith(root)
    return True


def _open(folder):
    tracemalloc.start()
    try:
        return list_file.make(data_config(source="list", path=str(folder)), "train"), ""
    except InputError as error:
        return None, str(error)
    finally:
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert most <= MOST_MEMORY


PIECES = (
    *("1.jpg", "a/2.jpg", "a/fine.jpg", "a/link.jpg", "link/secret.jpg", "link", "..", ".", "/"),
    *("../outside/x", "a/../../x", "/etc/passwd", "a//2.jpg", "./1.jpg", "~", "gs://b/x", "\\"),
    *("0", "1", "007", "-1", "99999999999999999999", "9" * 5000, "1e5", "\u0663", "\u00b2", "cat"),
    *(" ", " ", " ", "\t", "\n", "\n", "\n", "\r", "\0", "\x1b[31m", "\ufeff", "\u2028", "\u3000"),
)
LINES = st.lists(st.sampled_from(PIECES), max_size=30).map("".join)


def number_of_cases(request):
    return request.config.getoption("--fuzz-cases") // 4


def fuzz(strategy, function, request):
    cases = number_of_cases(request)
    options = {"max_examples": cases, "deadline": None, "derandomize": True, "database": None}
    health = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
    settings(**options, suppress_health_check=health)(given(strategy)(function))()


def test_bytes(folder, request):
    texts = st.one_of(st.binary(max_size=200), st.text(max_size=200).map(_utf8))
    classes = st.one_of(st.none(), st.binary(max_size=50), st.text(max_size=50).map(_utf8))

    def one(files):
        check(folder, *files)

    fuzz(st.tuples(texts, classes), one, request)


def _utf8(text):
    return text.encode("utf-8", "surrogatepass")


def test_lines_of_words_that_are_trouble(folder, request):
    accepted = []

    def one(text):
        accepted.append(check(folder, text.encode()))

    fuzz(LINES, one, request)
    assert 0.01 < np.mean(accepted) < 0.9


def test_mutated_lists(folder, request):
    good = "".join(f"a/{i} {i}.jpg {i % 7}\n" for i in range(20)).encode()
    accepted = []
    for case in range(number_of_cases(request)):
        rng = np.random.default_rng(case)
        text = bytearray(good)
        for position in rng.integers(len(text), size=rng.integers(1, 5)):
            text[position] = rng.choice([rng.integers(256), *b" /.\n19"])
        first, last = np.sort(rng.integers(len(text), size=2))
        if rng.random() < 0.3:
            text[first:last] = text[first:last] * int(rng.integers(0, 3))
        accepted.append(check(folder, bytes(text)))
    assert 0.1 < np.mean(accepted) < 0.9


def test_what_a_long_run_has_found(folder):
    """Messages that showed a name as it was, with a tab in it."""
    assert not check(folder, b"link/secret.jpg\ta/2.jpg 1.jpg")
    assert not check(folder, b"!\t:", b"!\t:")
