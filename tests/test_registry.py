import flax.linen as nn
import pytest

from bot_jax.errors import InputError
from bot_jax.models import get_model, model_info, model_names, register_model, registry


@pytest.fixture
def empty_registry(monkeypatch):
    monkeypatch.setattr(registry, "_MODELS", {})
    monkeypatch.setattr(registry, "BUILT_IN", ())


def test_all_resnets_are_there():
    expected = {f"resnet{d}_{v}" for d in (18, 34, 50, 101, 152, 200) for v in "abcd"}
    expected |= {f"resnet{d}_cifar" for d in (20, 32, 44, 56, 110)}
    assert expected <= set(model_names())


def test_the_other_networks_of_the_paper_are_there():
    names = {"inception_v3", *(f"mobilenet_{width}" for width in ("025", "050", "075", "100"))}
    assert names <= set(model_names())


def test_input_sizes_and_descriptions():
    assert model_info("resnet50_d").input_size == 224
    assert model_info("resnet20_cifar").input_size == 32
    for name in model_names():
        description = model_info(name).description
        assert len(description) < 90
        assert "\n" not in description
    assert "1812.01187" in model_info("resnet50_d").description


def test_options_reach_the_model_and_names_stand_for_the_variant():
    model = get_model("resnet50_d", num_classes=7, zero_gamma=True)
    assert (model.num_classes, model.zero_gamma) == (7, True)
    assert (model.stage_sizes, model.avg_pool_shortcut) == ((3, 4, 6, 3), True)
    assert "avg_pool_shortcut" not in model_info("resnet50_d").options
    assert {"num_classes", "dtype", "bn_groups", "width"} <= set(model_info("resnet50_d").options)


def test_unknown_model():
    with pytest.raises(InputError, match=r"'resnet50d'.* Did you mean 'resnet50_d'"):
        get_model("resnet50d")


@pytest.mark.parametrize(("option", "near"), [("num_clases", "num_classes"), ("widht", "width")])
def test_unknown_option(option, near):
    with pytest.raises(InputError, match=f"no option '{option}'. Did you mean '{near}'"):
        get_model("resnet18_b", **{option: 1})


@pytest.mark.parametrize("option", ["deep_stem", "name", "parent"])
def test_what_the_name_stands_for_is_no_option(option):
    with pytest.raises(InputError, match=f"no option '{option}'"):
        get_model("resnet18_b", **{option: None})


@pytest.mark.usefixtures("empty_registry")
def test_register_a_module():
    @register_model("net", input_size=8, description="a net", depth=3)
    class Net(nn.Module):
        depth: int
        num_classes: int = 10

    assert model_names() == ["net"]
    assert model_info("net").options == ("num_classes",)
    assert get_model("net", num_classes=2) == Net(depth=3, num_classes=2)


@pytest.mark.usefixtures("empty_registry")
def test_register_a_function():
    @register_model("net", input_size=8, description="a net")
    def net(num_classes, width=4):
        return num_classes, width

    assert model_info("net").options == ("num_classes", "width")
    assert get_model("net", num_classes=2) == (2, 4)


@pytest.mark.usefixtures("empty_registry")
def test_a_name_is_registered_once():
    register_model("net", input_size=8, description="a net")(lambda: None)
    with pytest.raises(InputError, match="'net' is registered twice"):
        register_model("net", input_size=8, description="another")(lambda: None)
