import pytest

from bot_jax.cost import GIGA_MACS, cost, minutes_an_epoch
from bot_jax.models.count import count
from bot_jax.models.registry import get_model
from configs.paper import batch_1024, cosine, distill, efficient, mixup, recipe


def of(model, *changes):
    return cost(recipe(model, *changes)())


def test_paper_minutes_an_epoch():
    minutes = {  # table 3: float16 at 1,024, float32 at 256
        "resnet50_a": (4.4, 13.3),
        "inception_v3": (8, 19.8),
        "mobilenet_100": (3.7, 6.2),
    }
    for model, (efficient_minutes, baseline_minutes) in minutes.items():
        assert minutes_an_epoch(model, "float16") == efficient_minutes
        assert minutes_an_epoch(model, "float32") == baseline_minutes


def test_steps_and_published_hours():
    base = of("resnet50_a")
    assert base.steps == 120 * 5004
    assert base.hours == pytest.approx(120 * 13.3 / 60)
    assert not base.estimated
    fast = of("resnet50_d", efficient, cosine, mixup)
    assert fast.steps == 200 * 1251
    assert fast.hours == pytest.approx(200 * 1_281_167 / 4993 / 3600)
    assert not fast.estimated


def test_compute():
    # Two FLOP a multiply-accumulate, three passes, 1,281,167 images, 120 epochs.
    assert of("resnet50_d").exaflop == pytest.approx(2 * 3 * 4.329e9 * 1_281_167 * 120 / 1e18)
    # The teacher adds one pass.
    taught = of("resnet50_d", distill).exaflop - of("resnet50_d").exaflop
    assert taught == pytest.approx(2 * 11.753e9 * 1_281_167 * 120 / 1e18)


def test_what_is_scaled_from_another_pace_is_said_to_be_estimated():
    assert of("resnet50_a", batch_1024).estimated  # in float32, published at 256
    # Without a pace of its own: as many FLOP a second as ResNet-50, 4.4 minutes an epoch.
    teacher = of("resnet152_d", efficient)
    assert teacher.estimated
    assert teacher.hours == pytest.approx(4.4 * 120 / 60 * 11.753 / 3.858)
    # Distilled: the published pace of the student, and a third of that for the teacher.
    student = of("mobilenet_100", efficient, distill)
    assert student.estimated
    assert student.hours == pytest.approx(3.7 * 120 / 60 + teacher.hours / 3)
    assert of("mobilenet_075", efficient).hours is None


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size"), GIGA_MACS)
def test_multiply_accumulates_are_those_of_the_models(name, size):
    counted = count(get_model(name), size).macs / 1e9
    assert GIGA_MACS[name, size] == pytest.approx(counted, abs=6e-4)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("data.image_size", 192),
        ("data.tfds_name", "cifar100"),
        ("data.source", "folder"),
        ("model.name", "resnet26_d"),
    ],
)
def test_what_no_published_row_has_costs_nobody_knows_what(field, value):
    config = recipe("resnet50_d", efficient)()
    config.update_from_flattened_dict({field: value})
    assert cost(config) is None


def test_a_precision_without_published_pace_has_no_hours():
    config = recipe("resnet50_d", efficient)()
    expected = cost(config)
    config.precision.compute = "bfloat16"
    assert cost(config).hours is None
    assert (cost(config).steps, cost(config).exaflop) == (expected.steps, expected.exaflop)
