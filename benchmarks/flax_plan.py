"""The step of Flax's ImageNet example, compiled for a GPU that is not here.

    python benchmarks/flax_plan.py --model resnet50_b --batch 256 --gpu h100

Counted as `python -m bot_jax.plan` counts; without colour jitter and PCA noise.
"""

import argparse
import sys

import flax_step
import jax
import jax.numpy as jnp

from bot_jax.errors import InputError
from bot_jax.gpu_step import compile_plan, gpu_devices
from bot_jax.gpus import GPUS


def main() -> int:
    """Compiles and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="resnet50_b")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--gpu", default="h100", choices=GPUS)
    flags = parser.parse_args()
    try:
        device = gpu_devices(flags.gpu, 1)[0]
    except InputError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    sharding = jax.sharding.SingleDeviceSharding(device)

    def on_device(tree):
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree
        )

    init, step = flax_step.make_step(flags.model, 1000, jnp.bfloat16)
    images = jax.ShapeDtypeStruct((flags.batch, 224, 224, 3), jnp.float32)
    labels = jax.ShapeDtypeStruct((flags.batch,), jnp.int32)
    state, batch = on_device(jax.eval_shape(init, images)), on_device((images, labels))
    plan = compile_plan(step, (state, *batch), batch, flags.batch, 1)
    moved = sum(kernel.times * kernel.bytes for kernel in plan.kernels)
    print(f"{flags.model}, a batch of {flags.batch} in bfloat16 on {GPUS[flags.gpu].name}")
    print(f"HBM traffic {moved / flags.batch / 1e6:.1f} MB an image, peak {plan.peak / 1e9:.2f} GB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
