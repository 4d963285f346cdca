import pytest

from bot_jax.errors import InputError, check_choice, suggest


def test_the_nearest_name_is_suggested():
    assert suggest("resnet50d", ["resnet50_d", "resnet18_d"]) == " Did you mean 'resnet50_d'?"
    assert suggest("zzz", ["resnet50_d"]) == ""


def test_choices():
    check_choice("config.x", "a", ("a", "b"))
    with pytest.raises(InputError, match=r"config.x = 'c' is not known\..*Valid: a, b\."):
        check_choice("config.x", "c", ("b", "a"))
