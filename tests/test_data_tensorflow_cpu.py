import importlib.util
import os
import re
import sys
from pathlib import Path
from unittest import mock

import bot_jax.data

DATA = Path(bot_jax.data.__file__).parent


def test_gpus_are_hidden_and_tensorflow_is_quiet(monkeypatch):
    fake = mock.MagicMock()
    fake.__spec__ = None
    monkeypatch.setitem(sys.modules, "tensorflow", fake)
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    spec = importlib.util.spec_from_file_location("fresh", DATA / "tensorflow_cpu.py")
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    fake.config.set_visible_devices.assert_called_once_with([], "GPU")
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "3"


def test_log_level_of_the_user_is_kept(monkeypatch):
    fake = mock.MagicMock()
    fake.__spec__ = None
    monkeypatch.setitem(sys.modules, "tensorflow", fake)
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    spec = importlib.util.spec_from_file_location("fresh", DATA / "tensorflow_cpu.py")
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "0"


def test_no_other_module_imports_tensorflow_itself():
    for path in DATA.glob("*.py"):
        if path.name != "tensorflow_cpu.py":
            assert not re.search(r"import tensorflow\b(?!_)", path.read_text()), path
