"""A training step as Flax's ImageNet example has it: plain layers, jit of one function, SGD.

A worker of `python -m bot_jax.benchmark`. `make_step` is also what the plan for GPUs is compared
with.
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
import worker

_SIZES = {"resnet20": (3, 3, 3), "resnet18": (2, 2, 2, 2), "resnet50": (3, 4, 6, 3)}


# Channels and stride of the blocks.
_MOBILENET = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5)
_MOBILENET = (*_MOBILENET, (1024, 2), (1024, 1))


class MobileNet(nn.Module):
    """mobilenet_100."""

    num_classes: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x):
        """Images [b, h, w, 3] -> logits [b, num_classes], training."""
        conv = partial(nn.Conv, use_bias=False, dtype=self.dtype)
        norm = partial(
            nn.BatchNorm, use_running_average=False, momentum=0.9, epsilon=1e-5, dtype=self.dtype
        )
        x = nn.relu(norm()(conv(32, (3, 3), (2, 2), padding=1)(x)))
        for features, stride in _MOBILENET:
            before = x.shape[-1]
            depthwise = conv(
                before, (3, 3), (stride, stride), padding=1, feature_group_count=before
            )
            x = nn.relu(norm()(depthwise(x)))
            x = nn.relu(norm()(conv(features, (1, 1))(x)))
        return nn.Dense(self.num_classes, dtype=self.dtype)(x.mean((1, 2)))


class ResNet(nn.Module):
    """resnet20_cifar, or resnetN_b and resnetN_d of 18 and 50 layers."""

    name_and_variant: str
    num_classes: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x):
        """Images [b, h, w, 3] -> logits [b, num_classes], training."""
        depth, variant = self.name_and_variant.split("_")
        conv = partial(nn.Conv, use_bias=False, dtype=self.dtype)
        norm = partial(
            nn.BatchNorm, use_running_average=False, momentum=0.9, epsilon=1e-5, dtype=self.dtype
        )
        width, bottleneck = (16 if variant == "cifar" else 64), depth == "resnet50"
        if variant == "cifar":
            x = nn.relu(norm()(conv(width, (3, 3))(x)))
        else:
            stem = ((32, 3, 2), (32, 3, 1), (64, 3, 1)) if variant == "d" else ((64, 7, 2),)
            for features, size, stride in stem:
                pad = [(size // 2, size // 2)] * 2
                x = conv(features, (size, size), (stride, stride), padding=pad)(x)
                x = nn.relu(norm()(x))
            x = nn.max_pool(x, (3, 3), (2, 2), padding=((1, 1), (1, 1)))
        for stage, blocks in enumerate(_SIZES[depth]):
            for index in range(blocks):
                features, stride = width * 2**stage, 2 if stage and not index else 1
                strides, out = (stride, stride), features * (4 if bottleneck else 1)
                shortcut, y = x, x
                if bottleneck:
                    y = nn.relu(norm()(conv(features, (1, 1))(y)))
                    y = nn.relu(norm()(conv(features, (3, 3), strides, padding=1)(y)))
                    y = norm()(conv(out, (1, 1))(y))
                else:
                    y = nn.relu(norm()(conv(features, (3, 3), strides, padding=1)(y)))
                    y = norm()(conv(out, (3, 3), padding=1)(y))
                if variant == "cifar" and stride > 1:
                    new = (out - x.shape[-1]) // 2
                    shortcut = jnp.pad(x[:, ::2, ::2], ((0, 0), (0, 0), (0, 0), (new, new)))
                elif x.shape != y.shape:
                    if variant == "d" and stride > 1:
                        shortcut, strides = nn.avg_pool(x, (2, 2), (2, 2)), (1, 1)
                    shortcut = norm()(conv(out, (1, 1), strides)(shortcut))
                x = nn.relu(shortcut + y)
        return nn.Dense(self.num_classes, dtype=self.dtype)(x.mean((1, 2)))


def make_step(name, num_classes, dtype):
    """(initial state of images, step): the step donates its state."""
    mobilenet = name == "mobilenet_100"
    model = MobileNet(num_classes, dtype) if mobilenet else ResNet(name, num_classes, dtype)
    optimizer = optax.chain(
        optax.add_decayed_weights(1e-4), optax.sgd(1e-3, momentum=0.9, nesterov=True)
    )

    def init(images):
        variables = model.init(jax.random.key(0), images)
        return variables["params"], variables["batch_stats"], optimizer.init(variables["params"])

    def step(state, images, labels):
        params, batch_stats, opt_state = state

        def loss(params):
            logits, new = model.apply(
                {"params": params, "batch_stats": batch_stats}, images, mutable=["batch_stats"]
            )
            logits = logits.astype(jnp.float32)
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            return losses.mean(), new["batch_stats"]

        gradients, batch_stats = jax.grad(loss, has_aux=True)(params)
        updates, opt_state = optimizer.update(gradients, opt_state, params)
        return optax.apply_updates(params, updates), batch_stats, opt_state

    return init, jax.jit(step, donate_argnums=0)


def main():
    """Builds the step, warms up, and serves."""
    flags = worker.parse_flags(__doc__)
    init, step = make_step(flags.model, 10, jnp.dtype(flags.dtype))
    size = flags.image_size
    images = jax.random.normal(jax.random.key(1), (flags.batch, size, size, 3))
    labels = jnp.arange(flags.batch) % 10
    state = jax.jit(init, compiler_options={"xla_backend_optimization_level": 0})(images)

    def run(steps=flags.units):
        nonlocal state
        for _ in range(steps):
            state = step(state, images, labels)
        jax.block_until_ready(state)

    for _ in range(flags.warm_up):
        run(1)
    worker.serve(run, get_ready=lambda: run(1))


if __name__ == "__main__":
    main()
