"""Wide ResNet (Zagoruyko & Komodakis, arXiv 1605.07146, table 1): WRN-d-k for 32x32 images.

Of depth d = 6n + 4 and widening factor k: a 3x3 stem of 16 channels; three stages of n blocks with
16k, 32k and 64k channels, of which the second and the third stage halve the image; a batch norm and
a ReLU; mean; dense. The blocks are pre-activated (He et al. 1603.05027):

    x -> BN -> ReLU -> 3x3 -> BN -> ReLU -> [dropout] -> 3x3 -> + x

Where shapes change the shortcut is a 1x1 convolution, without a batch norm, of the pre-activated
input, as in the authors' code; the paper does not say. The paper drops 0.3 of the features in every
block on CIFAR and 0.4 on SVHN (its section 3.3).

There is no `zero_gamma`: no batch norm ends a branch, and before a ReLU a scale of 0 stays 0.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from bot_jax.models.dropout import dropout
from bot_jax.models.groups import BatchNormGroups
from bot_jax.models.head import classify
from bot_jax.models.initializers import kernel_initializers
from bot_jax.models.keys import training_keys
from bot_jax.models.layers import conv_and_norm
from bot_jax.models.registry import register_model


class PreActivationBlock(nn.Module):
    """Two pre-activated 3x3 convolutions, of which the first strides, and a shortcut.

    Attributes:
      features: channels of both convolutions, and of the result.
      stride: 1 or 2.
      conv, norm: `Conv` and `BatchNorm` with the model's options.
      dropout: probability of each feature to be dropped before the second convolution.
    """

    features: int
    stride: int
    conv: Callable
    norm: Callable
    dropout: float

    @nn.compact
    def __call__(self, x, keys=None):
        """[b, H, W, in] -> [b, ceil(H / stride), ceil(W / stride), features]."""
        activated = self.norm(name="bn1", relu=True)(x)
        y = self.conv(self.features, 3, stride=self.stride, name="conv1")(activated)
        y = self.norm(name="bn2", relu=True)(y)
        y = dropout(y, self.dropout, keys, f"{self.name} dropout")
        y = self.conv(self.features, 3, name="conv2")(y)
        if self.stride == 1 and x.shape[-1] == self.features:
            return x + y
        shortcut = self.conv(self.features, 1, stride=self.stride, name="shortcut_conv")
        return shortcut(activated) + y


class WideResNet(nn.Module):
    """Wide residual network for images [b, 32, 32, 3]; returns float32 logits [b, num_classes].

    Attributes:
      blocks_per_stage: n, for a depth of 6n + 4.
      widening_factor: k.
      num_classes: number of logits.
      dtype: of the computation; parameters are float32.
      initializer: name, see `initializers.py`.
      width: channels of the stem; the first stage has k times as many.
      block_dropout: probability of each feature to be dropped inside of the blocks.
      dropout, wide_layer: see `head.py`.
      bn_momentum, bn_epsilon, bn_groups: see `batch_norm.BatchNorm`.
    """

    blocks_per_stage: int
    widening_factor: int
    num_classes: int = 10
    dtype: Any = jnp.float32
    initializer: str = "xavier_uniform"
    width: int = 16
    block_dropout: float = 0.0
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
        x = conv(self.width, 3, name="stem_conv")(x)
        for stage in range(3):
            for index in range(self.blocks_per_stage):
                x = PreActivationBlock(
                    features=self.width * self.widening_factor * 2**stage,
                    stride=2 if stage > 0 and index == 0 else 1,
                    conv=conv,
                    norm=norm,
                    dropout=self.block_dropout,
                    name=f"stage{stage + 1}_block{index + 1}",
                )(x, keys)
        return classify(self, norm(name="last_bn", relu=True)(x), init.dense, keys)


# Of tables 4 and 5 of 1605.07146; AutoAugment and its successors have 28-10 and 40-2.
for _depth, _factor in ((16, 8), (28, 10), (40, 2), (40, 4)):
    register_model(
        f"wide_resnet{_depth}_{_factor}",
        input_size=32,
        description=f"WRN-{_depth}-{_factor} for 32x32 images (1605.07146 table 1)",
        blocks_per_stage=(_depth - 4) // 6,
        widening_factor=_factor,
    )(WideResNet)
