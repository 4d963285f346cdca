"""What the convolutions of a training step cost at least on this CPU, one by one.

    python benchmarks/floor.py --model resnet50_b --image-size 224 --batch 16 --dtype float32

Every convolution of the model is timed alone, as XLA computes it: forward, and both gradients, each
in every form that `models/convolution.py` knows. The fastest ones are summed. Nothing else of a
step is in it: no depthwise convolution, no batch norm, no ReLU, no pooling, no update.
"""

import argparse
import time
from collections import Counter
from functools import partial
from unittest import mock

import jax
import jax.numpy as jnp

from bot_jax.compiler_options import compiler_options
from bot_jax.huge_pages import use_huge_pages
from bot_jax.models import batch_norm, convolution, layers
from bot_jax.models.registry import get_model

RUNS = 5


def convolutions(name: str, image_size: int, batch: int, dtype) -> Counter:
    """(shape of x, shape of the kernel, stride, valid) -> how often the model has it."""
    found = Counter()

    def note(x, kernel, stride, valid=False):
        found[x.shape, kernel.shape, stride, valid] += 1
        return convolution.convolve(x, kernel, stride, valid)

    model = get_model(name, num_classes=10, dtype=dtype)
    images = jax.ShapeDtypeStruct((batch, image_size, image_size, 3), jnp.float32)
    with (
        mock.patch.object(layers, "convolve", note),
        mock.patch.object(batch_norm, "convolve", note),
    ):
        jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), images)
    return found


def forms(stride: int, valid: bool, padding: tuple[int, int]) -> dict:
    """What is computed -> functions (x, kernel, dy) that compute it."""
    as_convolution = partial(convolution._xla, stride=stride, valid=valid)
    as_product = partial(convolution._as_product, stride=stride, valid=valid)

    def gradient(function, i):
        return lambda x, kernel, dy: jax.vjp(function, x, kernel)[1](dy)[i]

    def turned(x, kernel, dy):
        return convolution._gradient_of_x_as_convolution(dy, kernel, valid)

    def as_products(x, kernel, dy):
        return convolution._gradient_of_w_as_products(x, dy, kernel.shape, stride, padding)

    both = (as_convolution, as_product)
    return {
        "forward": [lambda x, kernel, dy, f=f: f(x, kernel) for f in both],
        "gradient of x": [gradient(f, 0) for f in both] + ([turned] if stride == 1 else []),
        "gradient of w": [gradient(f, 1) for f in both] + [as_products],
    }


def least_seconds(function, *arguments) -> float:
    """The least of some runs."""
    run = jax.jit(function, compiler_options=compiler_options("cpu"))
    jax.block_until_ready(run(*arguments))
    seconds = []
    for _ in range(RUNS):
        began = time.perf_counter()
        jax.block_until_ready(run(*arguments))
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def main():
    """Times and prints; one line a convolution."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="resnet50_b")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    flags = parser.parse_args()
    dtype = jnp.dtype(flags.dtype)
    totals = Counter()
    heads = ("forward", "gradient of x", "gradient of w")
    print(f"{'':>34} {'GFLOP':>6}" + "".join(f" {head + ', ms':>18}" for head in heads))
    for (x_shape, k_shape, stride, valid), times in convolutions(
        flags.model, flags.image_size, flags.batch, dtype
    ).items():
        x, kernel = (jnp.ones(shape, dtype) for shape in (x_shape, k_shape))
        dy = jax.jit(partial(convolution._xla, stride=stride, valid=valid))(x, kernel)
        flops = 2 * dy.size * k_shape[0] * k_shape[1] * k_shape[2]
        row = []
        padding = convolution._padding(kernel, valid)
        for head, functions in forms(stride, valid, padding).items():
            if head == "gradient of x" and x_shape[-1] == 3:
                row.append(0.0)  # images have none
            else:
                row.append(min(least_seconds(function, x, kernel, dy) for function in functions))
            totals[head] += times * row[-1]
        size = f"{times} x {k_shape[0]}x{k_shape[1]} {k_shape[2]}-{k_shape[3]} /{stride}"
        what = f"{size} on {x_shape[1]}x{x_shape[2]}{' valid' if valid else ''}"
        print(
            f"{what:>34} {flops / 1e9:>6.2f}"
            + "".join(f" {1e3 * one:>9.2f} {flops / one / 1e9 if one else 0:>8.0f}" for one in row),
            flush=True,
        )
    print("behind each time: GFLOP/s")
    sums = ", ".join(f"{head} {totals[head]:.3f} s" for head in heads)
    print(f"all of them: {sums}; together {sum(totals.values()):.3f} s")


if __name__ == "__main__":
    use_huge_pages()
    main()
