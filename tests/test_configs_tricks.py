"""The configurations beyond the paper: what each row is, against the published recipes."""

from pathlib import Path

import pytest

from bot_jax.config import load_config, load_module
from bot_jax.data.absent import absent_source
from bot_jax.setup import make_setup

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
FILES = (
    "augmentations",
    "cifar_tricks",
    "ssld",
    "finetune",
    "small_data",
    "rehearsal",
    "rehearsal_tricks",
)
ROWS = [f"{file}:{row}" for file in FILES for row in load_module(CONFIGS / f"{file}.py").ROWS]


def load(row):
    file, name = row.split(":")
    return load_config(f"{CONFIGS}/{file}.py:{name}")


@pytest.mark.parametrize("row", ROWS)
def test_a_row_is_a_whole_run(row):
    config = load(row)
    sources = tuple(
        absent_source(config.data, split, 2048, 10)
        for split in (config.data.train_split, config.data.eval_split)
    )
    if config.distillation.teacher:
        config.distillation.teacher_model = config.distillation.teacher_model or "resnet18_d"
    setup = make_setup(config, sources=sources, trained=False)
    assert setup.total_steps == round(config.epochs * (2048 // config.batch_size))
    assert setup.peak_learning_rate > 0


# Of PaddleClas's comparison: top-1 and what is on beside mirroring.
EIGHT = {
    "standard": (77.31, {}),
    "auto_augment": (77.95, {"auto_augment": {"policy": "imagenet"}}),
    "rand_augment": (
        77.70,
        {"rand_augment": {"preset": "paddleclas", "num_operations": 2, "magnitude": 5.0}},
    ),
    "cutout": (78.01, {"cutout": {"length": 112}}),
    "random_erasing": (77.91, {"random_erasing": {}}),
    "hide_and_seek": (77.43, {"hide_and_seek": {}}),
    "grid_mask": (77.85, {"grid_mask": {}}),
    "mixup": (78.28, {"mixup": {"alpha": 0.2, "pairs": "permute"}}),
    "cutmix": (78.39, {"cutmix": {"preset": "paddleclas"}}),
}


@pytest.mark.parametrize("row", EIGHT)
def test_the_comparison_of_paddleclas(row):
    top1, augment = EIGHT[row]
    published = load_module(CONFIGS / "augmentations.py").ROWS[row].published
    assert (published.framework, published.model, published.top1) == (
        "PaddleClas",
        "ResNet50",
        top1,
    )
    config = load(f"augmentations:{row}")
    assert config.augment.to_dict() == {"horizontal_flip": {}, **augment}
    assert (config.epochs, config.batch_size, config.batch_norm.group_size) == (300, 256, 64)
    assert (config.optimizer.base_learning_rate, config.optimizer.weight_decay) == (0.1, 1e-4)
    assert (config.schedule.name, config.schedule.warmup_epochs) == ("cosine", 0)
    assert not config.optimizer.nesterov
    assert not config.optimizer.no_bias_decay


def test_the_comparison_is_complete():
    assert list(load_module(CONFIGS / "augmentations.py").ROWS) == list(EIGHT)


# Published error in percent, model, rate at batch 128, boundaries of the rate and its factor.
CIFAR = {
    "standard": (3.87, "wide_resnet28_10", 0.1, (60, 120, 160), 0.2),
    "cutout": (3.08, "wide_resnet28_10", 0.1, (60, 120, 160), 0.2),
    "ricap": (2.85, "wide_resnet28_10", 0.1, (60, 120, 160), 0.2),
    "auto_augment": (2.68, "wide_resnet28_10", 0.1, None, None),
    "sgd_resnet34": (None, "resnet34_b", 0.1, (150,), 0.1),
    "adabound_resnet34": (None, "resnet34_b", 0.001, (150,), 0.1),
}


@pytest.mark.parametrize("row", CIFAR)
def test_the_recipes_for_cifar10(row):
    error, model, rate, boundaries, factor = CIFAR[row]
    published = load_module(CONFIGS / "cifar_tricks.py").ROWS[row].published
    assert (published and published.top1) == (error and pytest.approx(100 - error))
    config = load(f"cifar_tricks:{row}")
    assert (config.model.name, config.epochs, config.batch_size) == (model, 200, 128)
    assert config.optimizer.base_learning_rate == rate
    assert not config.optimizer.linear_scaling
    assert config.optimizer.weight_decay == 5e-4
    assert config.augment.pad_and_crop.padding == 4
    if boundaries:
        assert config.schedule.name == "step"
        assert (config.schedule.boundaries_epochs, config.schedule.factor) == (boundaries, factor)
    else:
        assert config.schedule.name == "cosine"


def test_what_the_recipes_for_cifar10_add():
    usual = {"horizontal_flip", "pad_and_crop"}
    added = {row: set(load(f"cifar_tricks:{row}").augment) - usual for row in CIFAR}
    assert added == {
        "standard": set(),
        "cutout": {"cutout"},
        "ricap": {"ricap"},
        "auto_augment": {"auto_augment", "cutout"},
        "sgd_resnet34": set(),
        "adabound_resnet34": set(),
    }
    assert load("cifar_tricks:cutout").augment.cutout.length == 16
    assert load("cifar_tricks:ricap").augment.ricap.beta == 0.3
    adabound = load("cifar_tricks:adabound_resnet34").optimizer
    assert adabound.name == "adabound"
    assert adabound.options.to_dict() == {"final_learning_rate": 0.1, "gamma": 1e-3}


def test_ssld_learns_without_labels_and_then_with_them():
    first, second = load("ssld:distill"), load("ssld:finetune")
    assert first.distillation.form == "symmetric_kl"
    assert (first.distillation.hard_weight, first.distillation.temperature) == (0.0, 1.0)
    assert (first.epochs, second.epochs) == (360, 60)
    rates = [c.optimizer.base_learning_rate * c.batch_size / 256 for c in (first, second)]
    assert rates == pytest.approx([0.4, 0.004])
    factors = second.optimizer.layer_rates.to_dict()
    assert factors == {"stem": 0.1, "stage1": 0.1, "stage2": 0.2, "stage3": 0.2, "stage4": 0.3}
    assert second.pretrained == "runs/ssld_distill"
