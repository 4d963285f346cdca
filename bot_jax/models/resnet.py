"""ResNet in the variants A, B, C and D of the paper (He et al. 1812.01187, section 4).

| variant | stride_in_3x3 | deep_stem | avg_pool_shortcut |
|---|---|---|---|
| A, the original (1512.03385)           | no  | no  | no  |
| B, the stride moves to the 3x3         | yes | no  | no  |
| C, B with a stem of three 3x3          | yes | yes | no  |
| D, C with average-pooled shortcuts     | yes | yes | yes |

Depths 18 and 34 are built of basic blocks, which have no 1x1 convolution for the stride to
move from: there A and B are the same network.

GluonCV's `resnet50_v1` (its A) also has biases in two of the three convolutions of a block.
A batch norm follows and cancels them, so they are left out here.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from bot_jax.models.groups import BatchNormGroups
from bot_jax.models.head import classify
from bot_jax.models.initializers import kernel_initializers
from bot_jax.models.keys import training_keys
from bot_jax.models.layers import (
    avg_pool,
    conv_and_norm,
    max_pool,
    project,
    relu,
)
from bot_jax.models.registry import register_model
from bot_jax.models.stochastic_depth import drop_branch, drop_probabilities


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (1512.03385, figure 5 left). The first strides.

    Attributes:
      features: channels of both convolutions, and of the result.
      stride: 1 or 2.
      conv, norm: `Conv` and `BatchNorm` with the model's options.
      zero_gamma: the last batch norm starts at scale 0.
      stride_in_3x3: has no meaning here; the stride is always in the first 3x3.
      avg_pool_shortcut: see `projection_shortcut`.
      drop_probability: of the branch, see `stochastic_depth.drop_branch`.
    """

    features: int
    stride: int
    conv: Callable
    norm: Callable
    zero_gamma: bool
    stride_in_3x3: bool
    avg_pool_shortcut: bool
    drop_probability: float = 0.0

    expansion = 1

    @nn.compact
    def __call__(self, x, keys=None):
        """[b, H, W, in] -> [b, ceil(H / stride), ceil(W / stride), out]."""
        y = self.conv(self.features, 3, stride=self.stride, name="conv1")(x)
        y = self.norm(name="bn1", relu=True)(y)
        y = self.conv(self.features, 3, name="conv2")(y)
        y = self.norm(name="bn2", scale_init=last_scale_init(self.zero_gamma))(y)
        y = drop_branch(y, self.drop_probability, keys, self.name)
        return relu(projection_shortcut(self, x, self.features) + y)


class BottleneckBlock(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut (1512.03385, figure 5 right).

    Attributes:
      features: channels of the first two convolutions; the result has four times as many.
      stride: 1 or 2.
      conv, norm: `Conv` and `BatchNorm` with the model's options.
      zero_gamma: the last batch norm starts at scale 0.
      stride_in_3x3: the 3x3 convolution strides (variant B), not the first 1x1 (A), which
        drops three quarters of its input.
      avg_pool_shortcut: see `projection_shortcut`.
      drop_probability: of the branch, see `stochastic_depth.drop_branch`.
    """

    features: int
    stride: int
    conv: Callable
    norm: Callable
    zero_gamma: bool
    stride_in_3x3: bool
    avg_pool_shortcut: bool
    drop_probability: float = 0.0

    expansion = 4

    @nn.compact
    def __call__(self, x, keys=None):
        """[b, H, W, in] -> [b, ceil(H / stride), ceil(W / stride), out]."""
        stride1, stride2 = (1, self.stride) if self.stride_in_3x3 else (self.stride, 1)
        out = self.features * self.expansion
        y = self.conv(self.features, 1, stride=stride1, name="conv1")(x)
        y = self.norm(name="bn1", relu=True)(y)
        y = self.conv(self.features, 3, stride=stride2, name="conv2")(y)
        y = self.norm(name="bn2", relu=True)(y)
        last = partial(self.norm, name="bn3", scale_init=last_scale_init(self.zero_gamma))
        y = project(y, self.conv, last, out, name="conv3")
        y = drop_branch(y, self.drop_probability, keys, self.name)
        return relu(projection_shortcut(self, x, out) + y)


def last_scale_init(zero_gamma: bool) -> Callable:
    """Initialiser of the scale of a block's last batch norm (the paper's section 3.1).

    At scale 0 every block starts as its shortcut, so the network starts out shallow.
    """
    return nn.initializers.zeros if zero_gamma else nn.initializers.ones


def projection_shortcut(block: nn.Module, x: jax.Array, features: int) -> jax.Array:
    """The identity where shapes allow it, otherwise a 1x1 convolution and a batch norm.

    With `avg_pool_shortcut` (variant D) a 2x2 average pool takes the stride, so that the
    1x1 convolution sees every pixel.
    """
    stride = block.stride
    if stride == 1 and x.shape[-1] == features:
        return x
    if block.avg_pool_shortcut and stride == 2:
        x, stride = avg_pool(x), 1
    # At stride 2 a 1x1 convolution sees every second pixel only.
    x = x[:, ::stride, ::stride]
    return project(
        x, block.conv, partial(block.norm, name="shortcut_bn"), features, "shortcut_conv"
    )


class ResNet(nn.Module):
    """Residual network for images [b, H, W, 3]; returns float32 logits [b, num_classes].

    Attributes:
      block: `BasicBlock` or `BottleneckBlock`.
      stage_sizes: blocks in each of the four stages. Stage i has ``width * 2^i`` features,
        and all but the first halve the image.
      stride_in_3x3, deep_stem, avg_pool_shortcut: the variant, see the top of this file.
      num_classes: number of logits.
      dtype: of the computation; parameters are float32.
      initializer: name, see `initializers.py`.
      zero_gamma: the last batch norm of every block starts at scale 0.
      small_images: for images of about 32 to 64 pixels, the stem does not reduce: stride 1
        and no max pool.
      width: channels of the stem and of the first stage.
      dropout, wide_layer: see `head.py`.
      stochastic_depth: probability that the last block is dropped, see `stochastic_depth.py`.
      bn_momentum, bn_epsilon, bn_groups: see `batch_norm.BatchNorm`.
    """

    block: Any
    stage_sizes: tuple[int, ...]
    stride_in_3x3: bool
    deep_stem: bool
    avg_pool_shortcut: bool
    num_classes: int = 1000
    dtype: Any = jnp.float32
    initializer: str = "xavier_uniform"
    zero_gamma: bool = False
    small_images: bool = False
    width: int = 64
    dropout: float = 0.0
    wide_layer: int = 0
    stochastic_depth: float = 0.0
    bn_momentum: float = 0.9
    bn_epsilon: float = 1e-5
    bn_groups: BatchNormGroups = BatchNormGroups()

    @nn.compact
    def __call__(self, x, train: bool, keys=None):
        """Images [b, H, W, 3] -> float32 logits [b, num_classes]; `keys`: see `keys.py`."""
        keys = training_keys(self, train, keys)
        drops = iter(drop_probabilities(self.stochastic_depth, sum(self.stage_sizes)))
        init = kernel_initializers(self.initializer)
        conv, norm = conv_and_norm(self, init, train)
        x = self.stem(x, conv, norm)
        for stage, num_blocks in enumerate(self.stage_sizes):
            for index in range(num_blocks):
                x = self.block(
                    features=self.width * 2**stage,
                    stride=2 if stage > 0 and index == 0 else 1,
                    conv=conv,
                    norm=norm,
                    zero_gamma=self.zero_gamma,
                    stride_in_3x3=self.stride_in_3x3,
                    avg_pool_shortcut=self.avg_pool_shortcut,
                    drop_probability=next(drops),
                    name=f"stage{stage + 1}_block{index + 1}",
                )(x, keys)
        return classify(self, x, init.dense, keys)

    def stem(self, x, conv, norm):
        """7x7 convolution, or three 3x3 of which the first strides, and a max pool."""
        stride = 1 if self.small_images else 2
        if self.deep_stem:
            widths = (self.width // 2, self.width // 2, self.width)
            for i, (features, s) in enumerate(zip(widths, (stride, 1, 1), strict=True), 1):
                x = conv(features, 3, stride=s, name=f"stem_conv{i}")(x)
                x = norm(name=f"stem_bn{i}", relu=True)(x)
        else:
            kernel_size = 3 if self.small_images else 7
            x = conv(self.width, kernel_size, stride=stride, name="stem_conv")(x)
            x = norm(name="stem_bn", relu=True)(x)
        return x if self.small_images else max_pool(x)


# Table 1 of 1512.03385; 14 and 26 are timm's names for the smallest networks of bottleneck blocks,
# in which A and B differ. 200 has 16 more blocks in the second stage than 152 (1603.05027,
# appendix); PaddleClas gives the name to another network, with 3, 12, 48 and 3 blocks.
_STAGE_SIZES = {
    14: (1, 1, 1, 1),
    18: (2, 2, 2, 2),
    26: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    200: (3, 24, 36, 3),
}

_VARIANTS = {
    "a": (False, False, False, "stride in the first convolution (1512.03385)"),
    "b": (True, False, False, "stride in the 3x3 convolution (1812.01187 section 4.2)"),
    "c": (True, True, False, "B with a stem of three 3x3 (1812.01187 section 4.2)"),
    "d": (True, True, True, "C with average-pooled shortcuts (1812.01187 section 4.2)"),
}

for _depth, _stage_sizes in _STAGE_SIZES.items():
    for _letter, (_stride_in_3x3, _deep_stem, _avg_pool_shortcut, _text) in _VARIANTS.items():
        register_model(
            f"resnet{_depth}_{_letter}",
            input_size=224,
            description=f"ResNet-{_depth}-{_letter.upper()}: {_text}",
            block=BasicBlock if _depth in (18, 34) else BottleneckBlock,
            stage_sizes=_stage_sizes,
            stride_in_3x3=_stride_in_3x3,
            deep_stem=_deep_stem,
            avg_pool_shortcut=_avg_pool_shortcut,
        )(ResNet)
