import json

import pytest

from bot_jax.models.__main__ import main


@pytest.fixture(autouse=True)
def keep_environment(monkeypatch):
    """`main` chooses the CPU for the rest of its process."""
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")


def test_table(capsys):
    assert main(["resnet18_[ad]"]) == 0
    header, a, d = capsys.readouterr().out.splitlines()
    assert header.split() == ["name", "parameters", "MACs", "input", "description"]
    assert a.split()[:4] == ["resnet18_a", "11,689,512", "1.814G", "224"]
    assert d.split()[:4] == ["resnet18_d", "11,708,744", "2.054G", "224"]
    # Right-aligned columns end where their headings do.
    for title, cell in (("parameters", "11,689,512"), ("MACs", "1.814G"), ("input", "224")):
        assert header.index(title) + len(title) == a.index(cell) + len(cell)


def test_json(capsys):
    assert main(["20_cifar", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row.pop("description").startswith("ResNet-20")
    assert row == {
        "name": "resnet20_cifar",
        "parameters": 269_722,
        "macs": 40_551_040,
        "input_size": 32,
    }


def test_misspelt_name(capsys):
    assert main(["resnt50_d"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Did you mean 'resnet50_d'?" in captured.err
