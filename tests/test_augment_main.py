import json

import pytest

from bot_jax.augment.__main__ import main
from bot_jax.augment.registry import augmentations


@pytest.fixture(autouse=True)
def keep_environment(monkeypatch):
    """`main` chooses the CPU for the rest of its process."""
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")


def test_all_are_listed_with_options_and_aligned(capsys):
    assert main([]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split(maxsplit=2) == ["name", "on", "what it does, and its options"]
    firsts, seconds = lines[::2], lines[1::2]
    assert {line.split()[0] for line in firsts} == set(augmentations())
    on, text = header.index("on"), header.index("what")
    for first, second in zip(firsts, seconds, strict=True):
        augmentation = augmentations()[first.split()[0]]
        assert first[on:].split()[0] == augmentation.on
        assert first[text:] == augmentation.summary
        assert second[:text].strip() == ""
        assert second[text:].startswith("probability=")
        assert second.count("=") == len(augmentation.options)
        assert len(first) <= 120


def test_part_of_a_name(capsys):
    assert main(["utou"]) == 0
    _, first, second = capsys.readouterr().out.splitlines()
    assert first.split(maxsplit=2)[:2] == ["cutout", "normalized"]
    assert second.split() == ["probability=1", "length=16", "holes=1"]


def test_json(capsys):
    assert main(["hide_*", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row.pop("summary").startswith("Hides")
    assert row == {
        "name": "hide_and_seek",
        "on": "normalized",
        "options": {
            "probability": 1.0,
            "sizes": [0, 16, 32, 44, 56],
            "hide_probability": 0.5,
        },
    }


def test_misspelt_name(capsys):
    assert main(["cutuot"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("Error: ")
    assert "Did you mean 'cutout'?" in captured.err
