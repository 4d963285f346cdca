"""The rows of the paper's tables and of GluonCV's model zoo.

What is expected is typed from the paper (arXiv 1812.01187 and its CVPR version) and from the
released scripts, not from the configurations.
"""

from pathlib import Path

import pytest
from ml_collections import ConfigDict

from bot_jax.config import load_config, load_module
from bot_jax.models.registry import get_model
from bot_jax.optim.linear_scaling import scaled_learning_rate

ROOT = Path(__file__).resolve().parents[1]

# batch; learning rate after warmup; schedule; epochs of warmup; zero gamma, no bias decay: yes or
# no; precision; epochs; label smoothing; alpha of mixup; teacher.
PAPER = """
table2:resnet50                        resnet50_a     256 0.1 step   0 n n float32 120 0   0   -
table2:inception_v3                    inception_v3   256 0.1 step   0 n n float32 120 0   0   -
table2:mobilenet                       mobilenet_100  256 0.1 step   0 n n float32 120 0   0   -

table3:resnet50_efficient              resnet50_a    1024 0.4 step   5 y y float16 120 0   0   -
table3:resnet50_baseline               resnet50_a     256 0.1 step   0 n n float32 120 0   0   -
table3:inception_v3_efficient          inception_v3  1024 0.4 step   5 n y float16 120 0   0   -
table3:inception_v3_baseline           inception_v3   256 0.1 step   0 n n float32 120 0   0   -
table3:mobilenet_efficient             mobilenet_100 1024 0.4 step   5 n y float16 120 0   0   -
table3:mobilenet_baseline              mobilenet_100  256 0.1 step   0 n n float32 120 0   0   -

table4:bs256_linear_scaling            resnet50_a     256 0.1 step   0 n n float32 120 0   0   -
table4:bs256_warmup                    resnet50_a     256 0.1 step   5 n n float32 120 0   0   -
table4:bs256_zero_gamma                resnet50_a     256 0.1 step   5 y n float32 120 0   0   -
table4:bs256_no_bias_decay             resnet50_a     256 0.1 step   5 y y float32 120 0   0   -
table4:bs256_fp16                      resnet50_a     256 0.1 step   5 y y float16 120 0   0   -
table4:bs1024_linear_scaling           resnet50_a    1024 0.4 step   0 n n float32 120 0   0   -
table4:bs1024_warmup                   resnet50_a    1024 0.4 step   5 n n float32 120 0   0   -
table4:bs1024_zero_gamma               resnet50_a    1024 0.4 step   5 y n float32 120 0   0   -
table4:bs1024_no_bias_decay            resnet50_a    1024 0.4 step   5 y y float32 120 0   0   -
table4:bs1024_fp16                     resnet50_a    1024 0.4 step   5 y y float16 120 0   0   -

table5:resnet50_a                      resnet50_a    1024 0.4 step   5 y y float16 120 0   0   -
table5:resnet50_b                      resnet50_b    1024 0.4 step   5 y y float16 120 0   0   -
table5:resnet50_c                      resnet50_c    1024 0.4 step   5 y y float16 120 0   0   -
table5:resnet50_d                      resnet50_d    1024 0.4 step   5 y y float16 120 0   0   -

table6:resnet50_d_efficient            resnet50_d    1024 0.4 step   5 y y float16 120 0   0   -
table6:resnet50_d_cosine               resnet50_d    1024 0.4 cosine 5 y y float16 120 0   0   -
table6:resnet50_d_label_smoothing      resnet50_d    1024 0.4 cosine 5 y y float16 120 0.1 0   -
table6:resnet50_d_distill              resnet50_d    1024 0.4 cosine 5 y y float16 120 0.1 0   plain
table6:resnet50_d_mixup                resnet50_d    1024 0.4 cosine 5 y y float16 200 0.1 0.2 -
table6:resnet50_d_distill_mixup        resnet50_d    1024 0.4 cosine 5 y y float16 200 0.1 0.2 mixed
table6:inception_v3_efficient          inception_v3  1024 0.4 step   5 n y float16 120 0   0   -
table6:inception_v3_cosine             inception_v3  1024 0.4 cosine 5 n y float16 120 0   0   -
table6:inception_v3_label_smoothing    inception_v3  1024 0.4 cosine 5 n y float16 120 0.1 0   -
table6:inception_v3_distill            inception_v3  1024 0.4 cosine 5 n y float16 120 0.1 0   plain
table6:inception_v3_mixup              inception_v3  1024 0.4 cosine 5 n y float16 200 0.1 0.2 -
table6:inception_v3_distill_mixup      inception_v3  1024 0.4 cosine 5 n y float16 200 0.1 0.2 mixed
table6:mobilenet_efficient             mobilenet_100 1024 0.4 step   5 n y float16 120 0   0   -
table6:mobilenet_cosine                mobilenet_100 1024 0.4 cosine 5 n y float16 120 0   0   -
table6:mobilenet_label_smoothing       mobilenet_100 1024 0.4 cosine 5 n y float16 120 0.1 0   -
table6:mobilenet_distill               mobilenet_100 1024 0.4 cosine 5 n y float16 120 0.1 0   plain
table6:mobilenet_mixup                 mobilenet_100 1024 0.4 cosine 5 n y float16 200 0.1 0.2 -
table6:mobilenet_distill_mixup         mobilenet_100 1024 0.4 cosine 5 n y float16 200 0.1 0.2 mixed
table6:teacher_resnet152_d             resnet152_d   1024 0.4 cosine 5 y y float16 120 0.1 0   -
table6:teacher_resnet152_d_mixup       resnet152_d   1024 0.4 cosine 5 y y float16 200 0.1 0.2 -

table7:places365_efficient             resnet50_d    1024 0.4 step   5 y y float16 120 0   0   -
table7:places365_best                  resnet50_d    1024 0.4 cosine 5 y y float16 200 0.1 0.2 -
"""

# The same, from the .sh and .log files of dmlc/web-data; all have cosine decay and five epochs of
# warmup. The last column is of examples on a GPU.
GLUONCV = """
gluoncv:resnet18_v1          resnet18_a    1024 0.4 cosine 5 n n float32 120 0   0   256
gluoncv:resnet34_v1          resnet34_a    1024 0.4 cosine 5 n n float32 120 0   0   256
gluoncv:resnet50_v1          resnet50_a    1024 0.4 cosine 5 y y float16 120 0.1 0   128
gluoncv:resnet101_v1         resnet101_a   1024 0.4 cosine 5 n n float16 120 0   0   128
gluoncv:resnet152_v1         resnet152_a    256 0.1 cosine 5 y y float32 120 0.1 0   32
gluoncv:resnet18_v1b         resnet18_b    1024 0.4 cosine 5 n n float32 120 0   0   256
gluoncv:resnet34_v1b         resnet34_b    1024 0.4 cosine 5 n n float32 120 0   0   256
gluoncv:resnet50_v1b         resnet50_b    1024 0.4 cosine 5 y y float16 120 0.1 0   128
gluoncv:resnet101_v1b        resnet101_b   1024 0.4 cosine 5 y y float16 120 0.1 0   128
gluoncv:resnet152_v1b        resnet152_b    256 0.1 cosine 5 y y float32 120 0.1 0   32
gluoncv:resnet50_v1c         resnet50_c    1024 0.4 cosine 5 y y float16 120 0.1 0   128
gluoncv:resnet101_v1c        resnet101_c   1024 0.4 cosine 5 y y float16 120 0.1 0   128
gluoncv:resnet152_v1c        resnet152_c    256 0.1 cosine 5 y y float32 120 0.1 0   32
gluoncv:resnet50_v1d         resnet50_d    1024 0.4 cosine 5 y y float16 120 0.1 0   128
gluoncv:resnet50_v1d_mixup   resnet50_d    1024 0.4 cosine 5 y y float16 200 0.1 0.2 128
gluoncv:resnet101_v1d        resnet101_d   1024 0.4 cosine 5 y y float16 120 0.1 0   128
gluoncv:resnet101_v1d_mixup  resnet101_d   1024 0.4 cosine 5 y y float16 200 0.1 0.2 128
gluoncv:resnet152_v1d        resnet152_d    512 0.2 cosine 5 y y float32 120 0.1 0   64
gluoncv:resnet152_v1d_mixup  resnet152_d    256 0.1 cosine 5 y y float32 200 0.1 0.2 32
gluoncv:mobilenet1.0         mobilenet_100 1024 0.4 cosine 5 n y float16 120 0.1 0   128
gluoncv:mobilenet1.0_mixup   mobilenet_100 1024 0.4 cosine 5 n y float16 200 0.1 0.2 128
gluoncv:mobilenet0.75        mobilenet_075 1024 0.4 cosine 5 n y float16 120 0.1 0   128
gluoncv:mobilenet0.5         mobilenet_050 1024 0.4 cosine 5 n y float16 120 0.1 0   128
gluoncv:mobilenet0.25        mobilenet_025 1024 0.4 cosine 5 n y float16 120 0.1 0   128
gluoncv:inceptionv3          inception_v3  1024 0.4 cosine 5 n y float16 120 0.1 0   128
gluoncv:inceptionv3_mixup    inception_v3  1024 0.4 cosine 5 n y float16 200 0.1 0.2 128
"""

TEACHERS = {
    "-": "",
    "plain": "runs/teacher_resnet152_d",
    "mixed": "runs/teacher_resnet152_d_mixup",
}


def lines(text):
    return [line.split() for line in text.splitlines() if line]


EXPECTED = {line[0]: line[1:] for line in lines(PAPER + GLUONCV)}
TABLES = sorted({row.partition(":")[0] for row in EXPECTED})


def load(row):
    table, _, name = row.partition(":")
    return load_config(f"{ROOT}/configs/{table}.py:{name}")


def test_these_are_all_rows():
    rows = {
        f"{table}:{name}"
        for table in TABLES
        for name in load_module(ROOT / "configs" / f"{table}.py").ROWS
    }
    assert rows == set(EXPECTED)
    assert len(EXPECTED) == len(lines(PAPER + GLUONCV))


@pytest.mark.parametrize("row", EXPECTED)
def test_a_row_is_trained_as_published(row):
    model, batch, rate, schedule, warmup, gamma, no_bias, compute, epochs, eps, alpha, last = (
        EXPECTED[row]
    )
    config = load(row)
    assert config.name == row
    assert config.model.name == model
    assert config.batch_size == int(batch)
    assert config.optimizer.linear_scaling
    peak = scaled_learning_rate(config.optimizer.base_learning_rate, config.batch_size)
    assert peak == pytest.approx(float(rate))
    assert config.schedule.name == schedule
    assert config.schedule.warmup_epochs == float(warmup)
    assert config.model.options.get("zero_gamma", False) == (gamma == "y")
    assert config.optimizer.no_bias_decay == (no_bias == "y")
    assert config.precision.compute == compute
    assert config.epochs == float(epochs)
    assert config.label_smoothing.epsilon == float(eps)
    assert config.augment.get("mixup", {}).get("alpha", 0) == float(alpha)
    released = row.startswith("gluoncv:")
    group = int(last) if released else int(batch) // 8
    assert config.batch_norm.group_size == group
    assert config.distillation.teacher == ("" if released else TEACHERS[last])
    assert config.data.image_size == (299 if model == "inception_v3" else 224)
    assert config.data.eval_resize == (342 if model == "inception_v3" else 0)  # 0: 256 for 224


@pytest.mark.parametrize("row", EXPECTED)
def test_what_all_rows_have_in_common(row):
    config = load(row)
    released = row.startswith("gluoncv:")
    assert config.data.flavor == ("gluoncv" if released else "paper")
    assert config.model.options.initializer == ("msra_prelu" if released else "xavier_uniform")
    assert config.label_smoothing.form == ("uniform" if released else "paper")
    if "mixup" in config.augment:
        assert config.augment.mixup.lambda_per == ("group" if released else "sample")
        assert "pairs" not in config.augment.mixup  # reverse
    assert config.mixing.off_epochs == 0
    weight = 0.5 if released else 1.0
    assert (config.distillation.hard_weight, config.distillation.soft_weight) == (weight, weight)
    assert (config.optimizer.momentum, config.optimizer.nesterov) == (0.9, True)
    assert config.optimizer.weight_decay == 1e-4
    assert config.schedule.boundaries_epochs == (30, 60, 90)
    assert config.schedule.factor == 0.1
    assert config.data.crop_area == (0.08, 1.0)
    flavor = "gluoncv" if released else "paper"
    assert config.augment.color_jitter == ConfigDict({"strength": 0.4, "flavor": flavor})
    assert config.augment.pca_noise.std == 0.1
    assert config.augment.horizontal_flip == ConfigDict()  # one half
    assert config.data.source == "tfds"
    places = row.startswith("table7:")
    assert config.data.tfds_name == ("places365_small" if places else "imagenet2012")
    assert (config.accumulation, config.ema_decay, config.optimizer.gradient_clip_norm) == (1, 0, 0)
    if config.precision.compute == "float16":
        assert config.precision.loss_scale == "static"
        assert config.precision.loss_scale_value == config.batch_size
    else:
        assert config.precision.loss_scale == "none"


@pytest.mark.parametrize("row", [r for r in EXPECTED if EXPECTED[r][-1] in ("plain", "mixed")])
def test_distillation(row):
    distillation = load(row).distillation
    assert distillation.teacher_model == "resnet152_d"
    assert distillation.temperature == 20
    assert distillation.compute == "float16"
    teacher = load(f"table6:{distillation.teacher.removeprefix('runs/')}")
    assert teacher.model.name == distillation.teacher_model


def test_places365_from_a_folder():
    overrides = ["data.source=folder", "data.path=somewhere"]
    config = load_config(f"{ROOT}/configs/table7.py:places365_best", overrides)
    assert (config.data.source, config.data.path) == ("folder", "somewhere")


@pytest.mark.parametrize("model", sorted({line[0] for line in EXPECTED.values()}))
def test_models_exist_and_have_the_options(model):
    for row in EXPECTED:
        if EXPECTED[row][0] == model:
            get_model(model, **load(row).model.options.to_dict())
