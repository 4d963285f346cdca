"""Lists from strangers: they cannot lead out of their folder, and what is no list ends early."""

import os
import time
import tracemalloc

import pytest
from data_helpers import data_config

from bot_jax import prepare
from bot_jax.data import list_file, list_paths
from bot_jax.data.label_lists import labelled_before
from bot_jax.errors import InputError


def make(root, split="train", **options):
    return list_file.make(data_config(source="list", path=str(root), options=options), split)


@pytest.fixture
def root(tmp_path):
    """A folder of a list, beside one that is not for it."""
    for folder in ("root/a", "root/b", "root-2", "elsewhere"):
        (tmp_path / folder).mkdir(parents=True)
    for file in ("root/1.jpg", "root/a/2.jpg", "root-2/3.jpg", "elsewhere/secret.jpg"):
        (tmp_path / file).write_bytes(file.encode())
    return tmp_path / "root"


OUTSIDE = {
    "/etc/passwd": "it is absolute",
    "../elsewhere/secret.jpg": r"it has '\.\.' in it",
    "a/../1.jpg": r"it has '\.\.' in it",  # inside, but only if a is no link
    "a/..": r"it has '\.\.' in it",
    "out/secret.jpg": "a link leads to '.*/elsewhere",
    "a/out/secret.jpg": "a link leads to '.*/elsewhere",
    "a/secret.jpg": "a link leads to '.*/elsewhere/secret.jpg",
    "a/chain.jpg": "a link leads to '.*/elsewhere/secret.jpg",
    "near/3.jpg": "a link leads to '.*/root-2",  # its name begins as that of the root
    "out": "a link leads to '.*/elsewhere",
    "a/zero.jpg": "a link leads to '/dev/zero",
}


def links(root):
    (root / "out").symlink_to(root.parent / "elsewhere")
    (root / "a/out").symlink_to("../out")
    (root / "a/secret.jpg").symlink_to(root.parent / "elsewhere/secret.jpg")
    (root / "a/chain.jpg").symlink_to("secret.jpg")
    (root / "a/zero.jpg").symlink_to("/dev/zero")
    (root / "near").symlink_to("../root-2")
    (root / "b/fine.jpg").symlink_to("../a/2.jpg")
    (root / "c").symlink_to("a")


@pytest.mark.parametrize("path", OUTSIDE)
def test_a_path_that_leads_outside_is_refused_with_its_line(root, path):
    links(root)
    (root / "train.txt").write_text(f"1.jpg 0\n\n{path} 1\n")
    expected = rf"train\.txt, line 3: .*{OUTSIDE[path]}.*--config\.data\.options\.allow_outside"
    with pytest.raises(InputError, match=expected):
        make(root)
    assert make(root, allow_outside=True).num_examples == 2


def test_links_that_stay_inside_are_fine(root):
    links(root)
    names = ("1.jpg", "a/2.jpg", "b/fine.jpg", "c/2.jpg", "./1.jpg", "a//2.jpg", "..jpg", "no/x")
    (root / "train.txt").write_text("".join(f"{name} 0\n" for name in names))
    assert make(root).num_examples == len(names)
    linked = root.parent / "linked"
    linked.symlink_to(root)  # the folder itself may be reached by a link
    assert make(linked).num_examples == len(names)


@pytest.mark.parametrize("name", ["train.txt", "classes.txt"])
def test_a_list_that_is_a_link_is_refused(root, name):
    (root / "train.txt").write_text("1.jpg 0\n")
    (root.parent / "elsewhere/list").write_text("1.jpg 0\n")
    (root / name).unlink(missing_ok=True)
    (root / name).symlink_to("../elsewhere/list")
    with pytest.raises(InputError, match=f"{name} is a link out of its folder"):
        make(root)
    assert make(root, allow_outside=True).num_examples == 1


def test_every_folder_is_looked_at_once(root, monkeypatch):
    (root / "train.txt").write_text("".join(f"a/{i}.jpg 0\nb/{i}.jpg 0\n" for i in range(500)))
    resolved, listed = [], []
    realpath, scandir = os.path.realpath, os.scandir
    monkeypatch.setattr(os.path, "realpath", lambda p: resolved.append(p) or realpath(p))
    monkeypatch.setattr(list_paths.os, "scandir", lambda p: listed.append(p) or scandir(p))
    make(root)
    assert len(listed) == 2
    assert len(resolved) < 10


def test_other_options_of_lists_are_refused(root):
    (root / "train.txt").write_text("1.jpg 0\n")
    with pytest.raises(InputError, match="has no option 'outside'"):
        make(root, outside=True)
    with pytest.raises(InputError, match=r"allow_outside = 'yes' is not of the right type"):
        make(root, allow_outside="yes")


WRONG = {
    "NUL": (b"1.jpg 0\na\0b.jpg 0\n", r"line 2 has '\\x00' in it"),
    "not UTF-8": (b"1.jpg 0\ncaf\xe9.jpg 0\n", "line 2 has .* no UTF-8"),
    "escape": (b"1.jpg \x1b[31mred\n", r"line 1 has '\\x1b' in it"),
    "long line": (b"1.jpg 0\n" + b"x" * 10_000_000, "line 2 has more than 8,192 characters"),
    "zeros": (bytes(10_000_000), "line 1 has more than 8,192 characters"),
    "long label": (b"1.jpg " + b"9" * 5000, "line 1: a label has at most 255 characters"),
    "huge label": (b"1.jpg 0\n1.jpg 99999999999999999999\n", "line 2: .* 100,000 classes"),
    "first label too many": (b"1.jpg 100000\n", "line 1: .* more than 100,000 classes"),
    "huge label without other": (b"1.jpg " + b"9" * 255, "line 1: .* 100,000 classes"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_list_is_refused_early(root, name):
    text, message = WRONG[name]
    (root / "train.txt").write_bytes(text)
    tracemalloc.start()
    began = time.perf_counter()
    with pytest.raises(InputError, match=message):
        make(root)
    assert time.perf_counter() - began < 1
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()


def test_as_many_classes_as_a_number_may_say(root):
    (root / "train.txt").write_text("1.jpg 99999\n")
    assert len(make(root).class_names) == 100_000


def test_many_class_names_of_which_one_is_there_twice(root):
    names = [f"class {i}" for i in range(100_000)]
    (root / "train.txt").write_text("1.jpg 0\n")
    (root / "classes.txt").write_text("\n".join([*names, names[-1]]))
    began = time.perf_counter()
    with pytest.raises(InputError, match="names the class 'class 99999' more than once"):
        make(root)
    (root / "classes.txt").write_text("\n".join(names))
    (root / "train.txt").write_text("1.jpg unknown\n")
    with pytest.raises(InputError, match="line 1: 'unknown' is not one of the 100000 classes"):
        make(root)
    assert time.perf_counter() - began < 5


def test_classes_are_read_as_carefully(root):
    (root / "train.txt").write_text("1.jpg 0\n")
    (root / "classes.txt").write_bytes(b"fine\nb\xe9\n")
    with pytest.raises(InputError, match=r"classes\.txt, line 2 has .* no UTF-8"):
        make(root)


def test_records_of_a_list_that_leads_outside(root, tmp_path, capsys):
    (root / "train.txt").write_text("../elsewhere/secret.jpg 0\n")
    command = [str(root), str(tmp_path / "records"), "--source", "list"]
    assert prepare.main(command) == 2
    assert "leads out of the folder" in capsys.readouterr().err
    assert prepare.main([*command, "--allow-outside"]) == 2
    assert "cannot be read: its content is of no known image" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        prepare.main([*command, "--max-image-pixels", "0"])


@pytest.mark.parametrize(
    "text", [b"class\n0\n", b"path\n\xe9\n", b"path\na\0b\n", b'path\n"' + b"x" * 200_000]
)
def test_a_table_of_labels_that_is_none_is_refused(tmp_path, text):
    (tmp_path / "pseudo_labelled.csv").write_bytes(text)
    with pytest.raises(InputError, match="is not the table of a round of labelling"):
        labelled_before(tmp_path)
