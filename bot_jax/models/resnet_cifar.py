"""ResNet for 32x32 images of depth 6n + 2 (He et al. 1512.03385, section 4.2).

A 3x3 stem of 16 channels, three stages of n basic blocks with 16, 32 and 64 channels, and
shortcuts without parameters (option A). These are smaller and different networks from those
of `resnet.py` with `small_images`.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from bot_jax.models.groups import BatchNormGroups
from bot_jax.models.head import classify
from bot_jax.models.initializers import kernel_initializers
from bot_jax.models.keys import training_keys
from bot_jax.models.layers import conv_and_norm, relu
from bot_jax.models.registry import register_model
from bot_jax.models.resnet import last_scale_init
from bot_jax.models.stochastic_depth import drop_branch, drop_probabilities


def pad_shortcut(x: jax.Array, features: int, stride: int) -> jax.Array:
    """Option A of 1512.03385: every `stride`-th pixel, new channels filled with zeros.

    The zeros go half before and half after the old channels, where published weights of
    these networks expect them. The paper does not say where.
    """
    x = x[:, ::stride, ::stride]
    new = features - x.shape[-1]
    return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (new // 2, new - new // 2)))


class CifarBlock(nn.Module):
    """Two 3x3 convolutions, of which the first strides, and `pad_shortcut`."""

    features: int
    stride: int
    conv: Callable
    norm: Callable
    zero_gamma: bool
    drop_probability: float = 0.0

    @nn.compact
    def __call__(self, x, keys=None):
        """[b, H, W, in] -> [b, ceil(H / stride), ceil(W / stride), features]."""
        y = self.conv(self.features, 3, stride=self.stride, name="conv1")(x)
        y = self.norm(name="bn1", relu=True)(y)
        y = self.conv(self.features, 3, name="conv2")(y)
        y = self.norm(name="bn2", scale_init=last_scale_init(self.zero_gamma))(y)
        y = drop_branch(y, self.drop_probability, keys, self.name)
        return relu(pad_shortcut(x, self.features, self.stride) + y)


class CifarResNet(nn.Module):
    """Residual network for images [b, 32, 32, 3]; returns float32 logits [b, num_classes].

    Attributes:
      blocks_per_stage: n, for a depth of 6n + 2.
      num_classes: number of logits.
      dtype: of the computation; parameters are float32.
      initializer: name, see `initializers.py`.
      zero_gamma: the last batch norm of every block starts at scale 0.
      width: channels of the stem and of the first stage.
      dropout, wide_layer: see `head.py`.
      stochastic_depth: probability that the last block is dropped, see `stochastic_depth.py`.
      bn_momentum, bn_epsilon, bn_groups: see `batch_norm.BatchNorm`.
    """

    blocks_per_stage: int
    num_classes: int = 10
    dtype: Any = jnp.float32
    initializer: str = "xavier_uniform"
    zero_gamma: bool = False
    width: int = 16
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
        drops = iter(drop_probabilities(self.stochastic_depth, 3 * self.blocks_per_stage))
        init = kernel_initializers(self.initializer)
        conv, norm = conv_and_norm(self, init, train)
        x = norm(name="stem_bn", relu=True)(conv(self.width, 3, name="stem_conv")(x))
        for stage in range(3):
            for index in range(self.blocks_per_stage):
                x = CifarBlock(
                    features=self.width * 2**stage,
                    stride=2 if stage > 0 and index == 0 else 1,
                    conv=conv,
                    norm=norm,
                    zero_gamma=self.zero_gamma,
                    drop_probability=next(drops),
                    name=f"stage{stage + 1}_block{index + 1}",
                )(x, keys)
        return classify(self, x, init.dense, keys)


for _depth in (20, 32, 44, 56, 110):
    register_model(
        f"resnet{_depth}_cifar",
        input_size=32,
        description=f"ResNet-{_depth} for 32x32 images (1512.03385 section 4.2)",
        blocks_per_stage=(_depth - 2) // 6,
    )(CifarResNet)
