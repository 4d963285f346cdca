"""MobileNet, the first one (Howard et al., arXiv 1704.04861), one of the networks of 1812.01187.

Table 1 of 1704.04861: a 3x3 convolution of stride 2, then 13 times a 3x3 convolution of each
channel on its own and a 1x1 convolution over channels, each with a batch norm and a ReLU; mean;
dense. The width multiplier (its section 3.3) scales the channels of all layers.

The ReLU has no bound, as in that paper and in GluonCV; TF-slim's is cut off at 6.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from bot_jax.models.groups import BatchNormGroups
from bot_jax.models.head import classify
from bot_jax.models.initializers import kernel_initializers
from bot_jax.models.keys import training_keys
from bot_jax.models.layers import DepthwiseConv, conv_and_norm
from bot_jax.models.registry import register_model

# Channels of the results of the blocks, by the size of their maps. The first block of each but the
# first stage strides.
_STAGES = ((64,), (128, 128), (256, 256), (512,) * 6, (1024, 1024))
_STEM = 32


class SeparableBlock(nn.Module):
    """A depthwise 3x3 and a pointwise 1x1 convolution (1704.04861, figure 3 right).

    Attributes:
      features: channels of the result.
      stride: 1 or 2, of the depthwise convolution.
      depthwise, conv, norm: `DepthwiseConv`, `Conv` and `BatchNorm` with the model's options.
    """

    features: int
    stride: int
    depthwise: Callable
    conv: Callable
    norm: Callable

    @nn.compact
    def __call__(self, x):
        """[b, H, W, in] -> [b, ceil(H / stride), ceil(W / stride), features]."""
        x = self.norm(name="bn1", relu=True)(self.depthwise(stride=self.stride, name="conv1")(x))
        return self.norm(name="bn2", relu=True)(self.conv(self.features, 1, name="conv2")(x))


class MobileNet(nn.Module):
    """MobileNet for images [b, H, W, 3]; returns float32 logits [b, num_classes].

    Attributes:
      multiplier: of the channels of every layer; what it makes of them is rounded down.
      num_classes: number of logits.
      dtype: of the computation; parameters are float32.
      initializer: name, see `initializers.py`; `layers.DepthwiseConv` says what the fans are.
      dropout, wide_layer: see `head.py`.
      bn_momentum, bn_epsilon, bn_groups: see `batch_norm.BatchNorm`.
    """

    multiplier: float
    num_classes: int = 1000
    dtype: Any = jnp.float32
    initializer: str = "xavier_uniform"
    dropout: float = 0.0
    wide_layer: int = 0
    bn_momentum: float = 0.9
    bn_epsilon: float = 1e-5
    bn_groups: BatchNormGroups = BatchNormGroups()

    @nn.compact
    def __call__(self, x, train: bool, keys=None):
        """Images [b, H, W, 3] -> float32 logits [b, num_classes]; `keys`: see `keys.py`."""
        keys = training_keys(self, train, keys)
        init = kernel_initializers(self.initializer)
        conv, norm = conv_and_norm(self, init, train)
        depthwise = partial(DepthwiseConv, kernel_init=init.conv, dtype=self.dtype)
        x = conv(int(_STEM * self.multiplier), 3, stride=2, name="stem_conv")(x)
        x = norm(name="stem_bn", relu=True)(x)
        for stage, widths in enumerate(_STAGES, 1):
            for index, features in enumerate(widths, 1):
                x = SeparableBlock(
                    features=int(features * self.multiplier),
                    stride=2 if stage > 1 and index == 1 else 1,
                    depthwise=depthwise,
                    conv=conv,
                    norm=norm,
                    name=f"stage{stage}_block{index}",
                )(x)
        return classify(self, x, init.dense, keys)


for _percent in (25, 50, 75, 100):
    register_model(
        f"mobilenet_{_percent:03}",
        input_size=224,
        description=f"MobileNet (1704.04861), width multiplier {_percent / 100:g}",
        multiplier=_percent / 100,
    )(MobileNet)
