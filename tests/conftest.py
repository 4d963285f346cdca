"""Set-up shared by all tests: eight CPU devices, and real images where they are at hand."""

import functools
import gc
import os
import sys
from pathlib import Path

# Before JAX is imported: it reads these once. Nearly all of the suite's time is compiling, and
# without optimisation that takes half as long.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
    " --xla_backend_optimization_level=0"
)

import pytest


def pytest_addoption(parser):
    """How many cases test_fuzz_images.py tries; test_fuzz_lists.py tries three quarters of it."""
    parser.addoption("--fuzz-cases", type=int, default=2048, metavar="N", help="(2048)")


@pytest.fixture(scope="module", autouse=True)
def _forget_what_was_compiled():
    """Gives back the memory of a module's programs, which no other module runs again."""
    yield
    jax = sys.modules.get("jax")  # as long as nothing imported it there is nothing to give back
    if jax is not None:
        jax.clear_caches()
        gc.collect()


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
    from bot_jax.extensions import import_extensions

    # As a configuration imports it, so that one process registers it once.
    import_extensions(str(Path(__file__).with_name("tiny_model.py")))

    return "tiny"


@pytest.fixture(scope="session")
def make_tiny_config(tiny_model):
    """Makes a run of the digits with the tiny model: 22 steps an epoch, all augmentations on."""
    return functools.partial(_tiny_config, tiny_model)


@pytest.fixture
def tiny_config(make_tiny_config):
    """A configuration of its own for a test to change."""
    return make_tiny_config()


@pytest.fixture(scope="session")
def color_run(make_tiny_config, tmp_path_factory):
    """A finished run on files, with a background class; see `color_run.train_on_colors`."""
    from color_run import train_on_colors

    return train_on_colors(tmp_path_factory.mktemp("run"), make_tiny_config())


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
