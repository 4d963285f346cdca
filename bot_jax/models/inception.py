"""Inception-V3 (Szegedy et al., arXiv 1512.00567), one of the three networks of 1812.01187.

The paper's table 1 leaves the widths inside of the blocks open. They are those of the network that
TF-slim, torchvision, timm and GluonCV all have, which is also figure 5 to 7 of the paper with 7x7
factorised, and 23.8 million parameters:

| stage | map | blocks |
|---|---|---|
| stem   | 299 to 35 | five convolutions and two max pools, most of them without padding |
| stage1 | 35        | three of `BlockA`, with 32, 64 and 64 channels behind the pool |
| stage2 | 17        | `ReductionB`, then four of `BlockC`, 128, 160, 160 and 192 wide |
| stage3 | 8         | `ReductionD`, then two of `BlockE` |

Every convolution has a batch norm, with an epsilon of 0.001, and a ReLU behind it, and no bias. The
average pools inside of the blocks count the zeros around the image, as in torchvision, timm and
GluonCV; TF-slim and Keras do not count them.

In training torchvision and GluonCV drop half of the features before the last layer (`dropout=0.5`),
TF-slim a fifth; 1812.01187 does not mention that, and here none are dropped by default.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from bot_jax.errors import InputError
from bot_jax.models.groups import BatchNormGroups, at_least_float32
from bot_jax.models.head import classify
from bot_jax.models.initializers import kernel_initializers
from bot_jax.models.keys import training_keys
from bot_jax.models.layers import classifier, conv_and_norm, global_avg_pool, max_pool, smooth
from bot_jax.models.registry import register_model

# Smaller images leave no pixel for the last blocks, or no 5x5 pixels for the auxiliary head.
_MIN_SIZE, _MIN_SIZE_AUXILIARY = 75, 299


class Layer(nn.Module):
    """A convolution, its batch norm and a ReLU; `conv` and `norm` with the model's options."""

    features: int
    kernel_size: int | tuple[int, int]
    conv: Callable
    norm: Callable
    stride: int = 1
    valid: bool = False

    @nn.compact
    def __call__(self, x):
        """[b, H, W, in] -> [b, ..., features], see `convolution.convolve`."""
        conv = self.conv(
            self.features, self.kernel_size, stride=self.stride, valid=self.valid, name="conv"
        )
        return self.norm(name="bn", relu=True)(conv(x))


def chain(x: jax.Array, layer: Callable, name: str, *layers, reduce: bool = False) -> jax.Array:
    """Layers one after another, called ``name_1``, ``name_2`` and so on.

    Args:
      x: images.
      layer: `Layer` with the model's options.
      name: of the branch.
      *layers: features and kernel size of each.
      reduce: the last one has stride 2 and no padding.
    """
    for i, (features, kernel_size) in enumerate(layers, 1):
        last = {"stride": 2, "valid": True} if reduce and i == len(layers) else {}
        x = layer(features, kernel_size, name=f"{name}_{i}", **last)(x)
    return x


class BlockA(nn.Module):
    """Figure 5 of 1512.00567, with a 5x5 convolution where that has a single 3x3.

    Attributes:
      pool_features: channels behind the average pool.
      layer: `Layer` with the model's options.
    """

    pool_features: int
    layer: Callable

    @nn.compact
    def __call__(self, x):
        """[b, H, W, in] -> [b, H, W, 224 + pool_features]."""
        branches = [
            chain(x, self.layer, "branch1x1", (64, 1)),
            chain(x, self.layer, "branch5x5", (48, 1), (64, 5)),
            chain(x, self.layer, "branch3x3", (64, 1), (96, 3), (96, 3)),
            chain(smooth(x), self.layer, "branch_pool", (self.pool_features, 1)),
        ]
        return jnp.concatenate(branches, axis=-1)


class ReductionB(nn.Module):
    """Figure 10 of 1512.00567: two branches and a max pool, all of stride 2."""

    layer: Callable

    @nn.compact
    def __call__(self, x):
        """[b, H, W, in] -> [b, floor((H - 1) / 2), floor((W - 1) / 2), 480 + in]."""
        branches = [
            chain(x, self.layer, "branch3x3", (384, 3), reduce=True),
            chain(x, self.layer, "branch3x3_double", (64, 1), (96, 3), (96, 3), reduce=True),
            max_pool(x, valid=True),
        ]
        return jnp.concatenate(branches, axis=-1)


class BlockC(nn.Module):
    """Figure 6 of 1512.00567 with n = 7.

    Attributes:
      width: channels between the convolutions of a branch.
      layer: `Layer` with the model's options.
    """

    width: int
    layer: Callable

    @nn.compact
    def __call__(self, x):
        """[b, H, W, in] -> [b, H, W, 768]."""
        width, row, column = self.width, (1, 7), (7, 1)
        double = (width, 1), (width, column), (width, row), (width, column), (192, row)
        branches = [
            chain(x, self.layer, "branch1x1", (192, 1)),
            chain(x, self.layer, "branch7x7", (width, 1), (width, row), (192, column)),
            chain(x, self.layer, "branch7x7_double", *double),
            chain(smooth(x), self.layer, "branch_pool", (192, 1)),
        ]
        return jnp.concatenate(branches, axis=-1)


class ReductionD(nn.Module):
    """To the 8x8 map: like `ReductionB`, with a factorised 7x7 in one branch."""

    layer: Callable

    @nn.compact
    def __call__(self, x):
        """[b, H, W, in] -> [b, floor((H - 1) / 2), floor((W - 1) / 2), 512 + in]."""
        long = (192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3)
        branches = [
            chain(x, self.layer, "branch3x3", (192, 1), (320, 3), reduce=True),
            chain(x, self.layer, "branch7x7", *long, reduce=True),
            max_pool(x, valid=True),
        ]
        return jnp.concatenate(branches, axis=-1)


class BlockE(nn.Module):
    """Figure 7 of 1512.00567: branches that end in a 1x3 and a 3x1 convolution side by side."""

    layer: Callable

    @nn.compact
    def __call__(self, x):
        """[b, H, W, in] -> [b, H, W, 2048]."""
        single = chain(x, self.layer, "branch3x3", (384, 1))
        double = chain(x, self.layer, "branch3x3_double", (448, 1), (384, 3))
        branches = [
            chain(x, self.layer, "branch1x1", (320, 1)),
            *self.split(single, "branch3x3"),
            *self.split(double, "branch3x3_double"),
            chain(smooth(x), self.layer, "branch_pool", (192, 1)),
        ]
        return jnp.concatenate(branches, axis=-1)

    def split(self, x, name):
        return [
            self.layer(384, size, name=f"{name}_{end}")(x)
            for end, size in (("row", (1, 3)), ("column", (3, 1)))
        ]


class AuxiliaryHead(nn.Module):
    """Logits from the 17x17 map, for the training of the layers below (1512.00567, section 4).

    A 5x5 average pool of stride 3, a 1x1 and an unpadded 5x5 convolution, mean, dense.

    Attributes:
      layer: `Layer` with the model's options.
      head: makes the dense layer.
    """

    layer: Callable
    head: Callable

    @nn.compact
    def __call__(self, x):
        """[b, H, W, in] -> float32 logits [b, num_classes]."""
        wide = x.astype(at_least_float32(x.dtype))
        x = nn.avg_pool(wide, (5, 5), strides=(3, 3)).astype(x.dtype)
        x = self.layer(128, 1, name="layer1")(x)
        x = self.layer(768, 5, valid=True, name="layer2")(x)
        return self.head()(global_avg_pool(x))


@register_model("inception_v3", input_size=299, description="Inception-V3 (1512.00567)")
class InceptionV3(nn.Module):
    """Inception-V3 for images [b, H, W, 3]; returns float32 logits [b, num_classes].

    With `auxiliary_head`, in training, (logits, logits of the auxiliary head), both float32
    [b, num_classes]. At evaluation it makes no difference.

    Attributes:
      num_classes: number of logits.
      dtype: of the computation; parameters are float32.
      initializer: name, see `initializers.py`.
      auxiliary_head: has one. It is off by default, as in GluonCV. Its multiply-accumulates
        are among those that are counted.
      dropout, wide_layer: see `head.py`; they are not for the auxiliary head.
      bn_momentum, bn_epsilon, bn_groups: see `batch_norm.BatchNorm`.

    Raises:
      InputError: the images are smaller than 75 pixels, or than 299 with an auxiliary head.
    """

    num_classes: int = 1000
    dtype: Any = jnp.float32
    initializer: str = "xavier_uniform"
    auxiliary_head: bool = False
    dropout: float = 0.0
    wide_layer: int = 0
    bn_momentum: float = 0.9
    bn_epsilon: float = 1e-3
    bn_groups: BatchNormGroups = BatchNormGroups()

    @nn.compact
    def __call__(self, x, train: bool, keys=None):
        """Images [b, H, W, 3] -> float32 logits [b, num_classes], or two of them."""
        keys = training_keys(self, train, keys)
        self.check_size(x.shape[1:3])
        init = kernel_initializers(self.initializer)
        conv, norm = conv_and_norm(self, init, train)
        layer = partial(Layer, conv=conv, norm=norm)
        x = self.stem(x, layer)
        for i, features in enumerate((32, 64, 64), 1):
            x = BlockA(features, layer, name=f"stage1_block{i}")(x)
        x = ReductionB(layer, name="stage2_block1")(x)
        for i, width in enumerate((128, 160, 160, 192), 2):
            x = BlockC(width, layer, name=f"stage2_block{i}")(x)
        auxiliary = None
        if self.auxiliary_head and (train or self.is_initializing()):
            head = partial(classifier, self.num_classes, init.dense, self.dtype)
            auxiliary = AuxiliaryHead(layer, head, name="auxiliary_head")(x)
        x = ReductionD(layer, name="stage3_block1")(x)
        for i in (2, 3):
            x = BlockE(layer, name=f"stage3_block{i}")(x)
        logits = classify(self, x, init.dense, keys)
        return (logits, auxiliary) if self.auxiliary_head and train else logits

    def check_size(self, sides):
        least = _MIN_SIZE_AUXILIARY if self.auxiliary_head else _MIN_SIZE
        if min(sides) < least:
            raise InputError(
                f"Images of {sides[0]}x{sides[1]} pixels are too small for Inception-V3"
                f"{' with an auxiliary head' if self.auxiliary_head else ''}: "
                f"it needs {least} or more. Make config.data.image_size larger."
            )

    def stem(self, x, layer):
        """From 299 to 35 pixels: convolutions of 3x3, one of 1x1, and two max pools."""
        x = layer(32, 3, stride=2, valid=True, name="stem_layer1")(x)
        x = layer(32, 3, valid=True, name="stem_layer2")(x)
        x = max_pool(layer(64, 3, name="stem_layer3")(x), valid=True)
        x = layer(80, 1, name="stem_layer4")(x)
        return max_pool(layer(192, 3, valid=True, name="stem_layer5")(x), valid=True)
