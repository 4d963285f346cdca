import argparse
import importlib.util
import json
import lzma
import math

import make_gpu_hlo
import pytest

from bot_jax import gpu_step, plan
from bot_jax.config import load_config
from bot_jax.data.source import Source
from bot_jax.gpus import GPUS
from bot_jax.hlo import Kernel, read_kernels

H100 = GPUS["h100"]


def kernel(kind, size, flops=0, dtype="bf16", times=1):
    return Kernel("k", kind, times, size, flops, dtype, "")


def test_a_kernel_takes_as_long_as_the_slower_of_memory_and_arithmetic():
    kernels = [
        kernel("convolution", 335_000_000, flops=10),  # 0.1 ms of memory
        kernel("convolution", 10, flops=989 * 10**9),  # 1 ms of arithmetic
        kernel("element-wise", 670_000_000, times=3),
        kernel("collective", 10**12),
    ]
    rows = plan.by_kind(kernels, H100)
    assert [(row["kind"], row["kernels"]) for row in rows] == [
        ("convolution", 2),
        ("element-wise", 3),
    ]
    assert rows[0]["seconds"] == pytest.approx(1.1e-3)
    assert rows[1]["seconds"] == pytest.approx(0.6e-3)
    assert rows[1]["bytes"] == 3 * 670_000_000


def test_peak_rates():
    assert H100.peak("bf16") == H100.peak("f16") == 989e12
    assert H100.peak("f32") == 494e12  # TF32
    assert GPUS["v100-16"].peak("f16") == 125e12
    assert GPUS["v100-16"].peak("bf16") == 15.7e12  # no units for it


def test_a_ring_moves_most_bytes_twice():
    kernels = [kernel("collective", 450_000_000, times=2), kernel("element-wise", 10**12)]
    shared = plan.collectives(kernels, H100, 8)
    assert (shared["collectives"], shared["collective_bytes"]) == (2, 900_000_000)
    assert shared["collective_seconds"] == pytest.approx(2 * 7 / 8 * 2e-3)
    assert shared["collective_exposed_seconds"] == shared["collective_seconds"]
    assert plan.collectives(kernels, H100, 1)["collective_seconds"] == 0


@pytest.mark.parametrize(
    ("meanwhile", "exposed"),
    [
        ((), 7e-4),
        (("short",), 6e-4),
        (("short", "long"), 0),
        (("other collective",), 7e-4),
    ],
)
def test_what_of_a_collective_is_behind_other_kernels(meanwhile, exposed):
    kernels = [
        Kernel("sum", "collective", 1, 180_000_000, 0, "f32", "", meanwhile),  # 0.7 ms
        Kernel("short", "element-wise", 1, 335_000_000, 0, "f32", ""),  # 0.1 ms
        Kernel("long", "convolution", 1, 10, 989 * 10**9, "bf16", ""),  # 1 ms
        Kernel("other collective", "collective", 1, 0, 0, "f32", ""),
    ]
    shared = plan.collectives(kernels, H100, 8)
    assert shared["collective_exposed_seconds"] == pytest.approx(exposed, abs=1e-12)


@pytest.mark.parametrize(
    ("limit", "examples", "expected"),
    [
        (1000, 10**6, 64),
        (500, 10**6, 32),
        (1030, 10**6, 96),
        (99, 10**6, None),
        (10**9, 1000, 992),  # no more than there are
    ],
)
def test_largest_batch(limit, examples, expected):
    def plan_of(batch_size):
        peak = 100 + 10 * batch_size - (50 if batch_size > 64 else 0)  # all but linear
        return gpu_step.Plan(batch_size, 0, 0, 0, peak, [])

    found = gpu_step.largest_batch(plan_of, plan_of(64), 32, limit, examples)
    assert found == expected
    if found:
        assert plan_of(found).peak <= limit


def test_only_whole_multiples_of_the_unit_are_compiled():
    def plan_of(batch_size):
        assert batch_size % 32 == 0  # others do not fit the batch-norm groups
        return gpu_step.Plan(batch_size, 0, 0, 0, 10 * batch_size, [])

    assert gpu_step.largest_batch(plan_of, plan_of(160), 32, 2000, 10**6) == 192


@pytest.fixture(scope="module")
def eight_gpus():
    """A step of ResNet-50-D in bfloat16, 8 x 256 images, as make_gpu_hlo.py had XLA compile it.

    That was once: the test of today's step is the one below that needs the extra.
    """
    text = lzma.decompress(make_gpu_hlo.LARGE.read_bytes()).decode()
    return gpu_step.Plan(2048, 10**9, 2 * 10**9, 3 * 10**9, 6 * 10**9, read_kernels(text))


# ResNet-50-D: parameters, and channels of batch norms: the stem's, those of the blocks (each of
# stage i has two of 64 * 2**i and one four times as wide) and those of the four shortcuts.
PARAMETERS = 25_576_264
WIDE = [256 * 2**i for i in range(4)]
CHANNELS = 32 + 32 + 64 + sum(n * w * 3 // 2 for n, w in zip((3, 4, 6, 3), WIDE, strict=True))
CHANNELS += sum(WIDE)
GIGA_MACS = 4.329


def test_eight_gpus_share_gradients_and_statistics_in_four_collectives(eight_gpus):
    shared = plan.collectives(eight_gpus.kernels, H100, 8)
    assert shared["collectives"] <= 4
    # Beside gradients: mean and variance of each channel, and the sums of the metrics. What a block
    # and its shortcut add to their sum, their beta, has one gradient, which XLA sends once.
    assert shared["collective_bytes"] == 4 * (PARAMETERS + 2 * CHANNELS + 3 - sum(WIDE))


def test_collectives_run_beside_the_backward_pass(eight_gpus):
    own = [k for k in eight_gpus.kernels if k.kind == "collective"]
    gradients = {k.name for k in eight_gpus.kernels if k.kind == "convolution"}
    assert sum(bool(gradients & set(k.meanwhile)) for k in own) >= len(own) - 1
    shared = plan.collectives(eight_gpus.kernels, H100, 8)
    assert shared["collective_exposed_seconds"] < 0.2 * shared["collective_seconds"]


def test_the_report_of_a_real_program(eight_gpus, capsys):
    config = load_config("configs/default.py", ["batch_size=2048", "precision.compute=bfloat16"])
    source = Source("imagenet", 1_281_167, ("any",) * 1000, str, read=lambda index: None)
    flags = argparse.Namespace(gpu="h100", devices=8, mode="train")
    result = plan.report(config, flags, eight_gpus, source, 9000)
    flops = sum(row["flops"] for row in result["kinds"])
    # Forward and two gradients, and what projection.py computes instead of reading more.
    assert 1 < flops / (256 * 2 * 3 * GIGA_MACS * 1e9) < 1.05
    assert 300e6 < result["bytes_per_image"] < 400e6
    seconds = sum(row["seconds"] for row in result["kinds"])
    assert result["step_seconds"] == pytest.approx(seconds)
    assert result["collectives"] <= 4
    assert result["peak"] == 6 * 10**9
    printed = capsys.readouterr().out
    assert "6.00 GB, fits into the 63.71 GB that JAX takes" in printed
    assert "9,000 examples on 8 device(s)" in printed
    minutes, rest = divmod(round(120 * 1_281_167 / 2048 * seconds), 60)
    assert f"120 epochs                             {minutes}:{rest:02}\n" in printed
    pace = f"{2048 / seconds:,.0f} images/s"
    assert pace in printed


def test_a_kernel_is_in_front_of_one_collective_only():
    kernels = [
        Kernel("first", "collective", 1, 180_000_000, 0, "f32", "", ("kernel",)),  # 0.7 ms
        Kernel("second", "collective", 1, 180_000_000, 0, "f32", "", ("kernel",)),
        Kernel("kernel", "convolution", 1, 10, 989 * 10**9, "bf16", ""),  # 1 ms
    ]
    shared = plan.collectives(kernels, H100, 8)
    assert shared["collective_exposed_seconds"] == pytest.approx(4e-4)


FLAGS = ["--config=configs/quickstart.py", "--gpu=h100"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--config=configs/nowhere.py", "--gpu=h100"], "There is no configuration file"),
        ([*FLAGS, "--config.epoch=1"], "'epochs'"),
        (
            ["--config=configs/photos.py", "--gpu=h100"],
            "To plan without the data, say --examples N --classes N",
        ),
        ([*FLAGS, "--devices=12"], "full machines"),
    ],
)
def test_wrong_input_ends_with_code_2(arguments, words, capsys):
    assert plan.main(arguments) == 2
    assert words in capsys.readouterr().err


HAS_PLUGIN = any(map(importlib.util.find_spec, ("jax_cuda12_plugin", "jax_cuda13_plugin")))
needs_plugin = pytest.mark.skipif(not HAS_PLUGIN, reason="needs the extra cuda12 or cuda13")


@pytest.mark.skipif(HAS_PLUGIN, reason="the extra is installed")
def test_without_the_extra_one_clear_sentence(capsys):
    assert plan.main(FLAGS) == 2
    assert "pip install -e '.[cuda12]'" in capsys.readouterr().err


@needs_plugin
@pytest.mark.parametrize("mode", ["train", "evaluate"])
def test_the_step_compiled_for_a_gpu(mode, tmp_path, capsys):
    arguments = [
        *FLAGS,
        f"--mode={mode}",
        "--devices=2",
        f"--json={tmp_path / 'plan.json'}",
        "--config.model.options.width=8",
        "--config.batch_norm.group_size=0",
    ]
    assert plan.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "Not known" in printed
    result = json.loads((tmp_path / "plan.json").read_text())
    convolutions = next(row for row in result["kinds"] if row["kind"] == "convolution")
    assert result["devices"] == 2
    assert result["peak"] == result["state"] + result["batch"] + result["temporary"]
    assert convolutions["flops"] > 0
    assert math.isfinite(result["step_seconds"])
    if mode == "train":
        # Gradients, statistics and sums of metrics are reduced, and all parameters are in there.
        assert result["collectives"] >= 1
        assert result["collective_bytes"] > result["state"] / 3
        assert result["largest_batch"] > 64


@needs_plugin
def test_eight_gpus_share_a_step_in_few_collectives(tmp_path):
    arguments = [
        *FLAGS,
        "--devices=8",
        f"--json={tmp_path / 'plan.json'}",
        "--config.model.options.width=8",
        "--config.batch_norm.group_size=8",
    ]
    assert plan.main(arguments) == 0
    result = json.loads((tmp_path / "plan.json").read_text())
    assert 1 <= result["collectives"] <= 4
    assert 0 <= result["collective_exposed_seconds"] <= result["collective_seconds"]


@needs_plugin
@pytest.mark.slow
@pytest.mark.parametrize("gpu", sorted(GPUS))
def test_every_gpu_is_one_that_xla_compiles_for(gpu):
    config = load_config("configs/quickstart.py", [])
    with config.unlocked():
        config.model.options.width = 8
    config.batch_norm.group_size = 0
    source = plan._source(config, None, None)
    made = gpu_step.make_plan(config, "evaluate", gpu_step.gpu_devices(gpu, 1), source)
    flops = sum(k.times * k.flops for k in made.kernels if k.kind == "convolution")
    assert flops > 0
    assert made.peak < GPUS[gpu].memory
