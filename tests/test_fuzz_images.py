"""Damaged images: each becomes an image or a reason, and nothing crashes, hangs or takes memory.

    launch/test.sh tests/test_fuzz_images.py --fuzz-cases 20000 -s

tries that many instead of 2,048, which are always the same, and prints what came out.
fuzz_images.py has the cases and the properties.
"""

import json
import subprocess
import sys
from pathlib import Path

import fuzz_images
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is measured on Linux")
MEMORY = 256  # MiB; one image may have 1 MB pixels, and its file a few KB


def test_damaged_images(request):
    cases = request.config.getoption("--fuzz-cases")
    command = [sys.executable, "tests/fuzz_images.py", "--cases", str(cases)]
    # A crash of a decoder would otherwise be a crash of the tests.
    process = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60 + cases / 20)
    lines = process.stdout.decode().splitlines()
    assert process.returncode == 0, (lines[-1:], process.stderr.decode(errors="replace")[-3000:])
    found = json.loads(lines[-1])
    print(lines[-1])
    assert found["cases"] >= cases
    assert found["memory"] < MEMORY
    assert found["slowest"][0] < 10
    # The cases are neither all harmless nor all hopeless.
    for what in ("decoded by TensorFlow", "decoded by Pillow alone", "refused"):
        assert found[what] > found["cases"] / 20


def test_cases_are_always_the_same_and_damaged():
    files = fuzz_images.seeds()
    assert len(files) > 35
    cases = [fuzz_images.mutated(case, files) for case in range(300)]
    assert cases == [fuzz_images.mutated(case, files) for case in range(300)]
    same = [case == files[i % len(files)] for i, case in enumerate(cases)]
    assert np.mean(same) < 0.05


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import ctypes; ctypes.string_at(0)", "Segmentation fault"),
        ("bytearray(2**31)", "MemoryError"),
        ("import time; time.sleep(9)", "Timeout"),
    ],
)
def test_a_crash_a_hang_and_memory_would_be_noticed(code, words):
    program = (
        "import sys, fuzz_images; sys.argv += ['--memory', '1024', '--seconds', '2'];"
        "import faulthandler; faulthandler.enable();"
        f"fuzz_images.run_pillow = lambda *_: exec({code!r}); fuzz_images.run = lambda *_: None;"
        "fuzz_images.main()"
    )
    command = [sys.executable, "-c", program]
    process = subprocess.run(command, cwd=ROOT / "tests", capture_output=True, timeout=60)
    assert process.returncode != 0
    assert words in process.stderr.decode()
