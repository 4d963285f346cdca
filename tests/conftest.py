"""Set-up shared by all tests: eight CPU devices, and real images where they are at hand."""

import functools
import os
from pathlib import Path

# Before JAX is imported: it reads these once. Nearly all of the suite's time is compiling, and
# without optimisation that takes half as long.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
    " --xla_backend_optimization_level=0"
)

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """A directory of real images for development; tests that need it are skipped without.

    BOT_JAX_TEST_DATA names it; the default is ../shared/data beside the checkout.
    """
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    path = Path(os.environ.get("BOT_JAX_TEST_DATA", default))
    if not path.is_dir():
        pytest.skip("no directory of test images: set BOT_JAX_TEST_DATA")
    return path


@pytest.fixture(scope="session")
def tiny_model() -> str:
    """The name of a registered model that compiles in a second: convolution, batch norm, head."""
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

    return "tiny"


@pytest.fixture(scope="session")
def make_tiny_config(tiny_model):
    """Makes a run of the digits with the tiny model: 22 steps an epoch, all augmentations on."""
    return functools.partial(_tiny_config, tiny_model)


@pytest.fixture
def tiny_config(make_tiny_config):
    """A configuration of its own for a test to change."""
    return make_tiny_config()


def _tiny_config(tiny_model):
    from configs import quickstart

    config = quickstart.get_config()
    config.unlock()
    config.name = "tiny"
    config.epochs = 1.0
    config.data.image_size = 8
    config.data.eval_resize = 8
    config.model.name = tiny_model
    config.model.options = {}
    config.schedule.warmup_epochs = 0.5
    config.eval_every_epochs = 0.5
    config.checkpoint.every_epochs = 0.25
    config.log_every_steps = 4
    return config
