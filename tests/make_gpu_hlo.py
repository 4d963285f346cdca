"""Makes tests/gpu_step.hlo.xz, the training step of a small network as XLA compiles it for GPUs.

    python tests/make_gpu_hlo.py

It needs the extra cuda12. The network and its sizes are those that test_hlo.py expects.
"""

import lzma
from pathlib import Path

FILE = Path(__file__).with_name("gpu_step.hlo.xz")
BATCH, PIXELS, CLASSES, DEVICES = 64, 32, 10, 2


def main():
    """Compiles for two H100 and writes the text."""
    from bot_jax import gpu_step
    from bot_jax.config import load_config
    from bot_jax.data.source import Source

    config = load_config("configs/cifar10.py", [])
    config.model.name = "resnet20_cifar"
    with config.unlocked():
        config.model.options.width = 8
    config.batch_size = BATCH
    config.batch_norm.group_size = BATCH // DEVICES
    config.data.image_size = PIXELS
    config.precision.compute = "bfloat16"
    names = tuple(map(str, range(CLASSES)))
    source = Source("none", 50_000, names, str, read=lambda index: None)
    texts = []
    gpu_step.read_kernels = texts.append
    gpu_step.make_plan(config, "train", gpu_step.gpu_devices("h100", DEVICES), source)
    FILE.write_bytes(lzma.compress(texts[0].encode(), preset=9))
    print(f"{FILE}: {len(texts[0]):,} characters, {FILE.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
