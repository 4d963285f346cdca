"""A model that compiles in a second: convolution, batch norm, head."""

import flax.linen as nn
import jax.numpy as jnp

from bot_jax.models.batch_norm import BatchNorm
from bot_jax.models.groups import BatchNormGroups
from bot_jax.models.layers import Conv, classifier, global_avg_pool
from bot_jax.models.registry import register_model


@register_model("tiny", input_size=8, description="for tests")
class Tiny(nn.Module):
    num_classes: int = 10
    dtype: type = jnp.float32
    bn_groups: BatchNormGroups = BatchNormGroups()
    batch_norm: bool = True

    @nn.compact
    def __call__(self, x, train):
        init = nn.initializers.he_normal()
        x = Conv(8, 3, init, stride=2, dtype=self.dtype, name="conv")(x)
        if self.batch_norm:
            x = BatchNorm(train=train, dtype=self.dtype, groups=self.bn_groups, name="bn")(x)
        x = global_avg_pool(nn.relu(x))
        return classifier(self.num_classes, init, self.dtype)(x)
