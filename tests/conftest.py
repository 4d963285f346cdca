"""Set-up shared by all tests: eight CPU devices, and real images where they are at hand."""

import os
from pathlib import Path

# Before JAX is imported: it reads these once.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
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
