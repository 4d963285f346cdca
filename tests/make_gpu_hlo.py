"""Makes the programs of tests/*.hlo.xz: training steps as XLA compiles them for H100s.

    python tests/make_gpu_hlo.py

gpu_step.hlo.xz is a small network on two GPUs, of the sizes that test_hlo.py expects, and
resnet50_d_8_gpus.hlo.xz that of `configs/default.py` in bfloat16 on eight. It needs the extra
cuda12.
"""

import lzma
from pathlib import Path

FOLDER = Path(__file__).parent
SMALL = FOLDER / "gpu_step.hlo.xz"
LARGE = FOLDER / "resnet50_d_8_gpus.hlo.xz"
BATCH, PIXELS, CLASSES, DEVICES = 64, 32, 10, 2


def small_config():
    """A ResNet-20 with half its channels."""
    from bot_jax.config import load_config

    config = load_config("configs/cifar10.py", [])
    config.model.name = "resnet20_cifar"
    with config.unlocked():
        config.model.options.width = 8
    config.batch_size = BATCH
    config.batch_norm.group_size = BATCH // DEVICES
    config.data.image_size = PIXELS
    config.precision.compute = "bfloat16"
    return config


def write(file, config, num_devices, num_classes):
    """Compiles the training step of a configuration and writes its text."""
    from bot_jax import gpu_step
    from bot_jax.data.source import Source

    names = tuple(map(str, range(num_classes)))
    source = Source("none", 50_000, names, str, read=lambda index: None)
    texts = []
    gpu_step.read_kernels = texts.append
    gpu_step.make_plan(config, "train", gpu_step.gpu_devices("h100", num_devices), source)
    file.write_bytes(lzma.compress(texts[0].encode(), preset=9 | lzma.PRESET_EXTREME))
    print(f"{file}: {len(texts[0]):,} characters, {file.stat().st_size:,} bytes")


def main():
    """Writes both files."""
    from bot_jax.config import load_config

    write(SMALL, small_config(), DEVICES, CLASSES)
    overrides = ["batch_size=2048", "precision.compute=bfloat16"]
    write(LARGE, load_config("configs/default.py", overrides), 8, 1000)


if __name__ == "__main__":
    main()
