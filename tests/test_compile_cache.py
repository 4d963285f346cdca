from pathlib import Path

import jax
import pytest

from bot_jax import compile_cache


@pytest.fixture
def updates(monkeypatch):
    """What is set in JAX's configuration, without setting it."""
    made = {}
    monkeypatch.setattr(jax.config, "update", made.__setitem__)
    return made


def test_off_on_a_cpu_unless_asked_for(updates):
    assert compile_cache.use_compile_cache(None) is None
    assert updates == {"jax_enable_compilation_cache": False}


def test_a_folder_for_each_kind_of_processor(updates, tmp_path, monkeypatch):
    folder = compile_cache.use_compile_cache(str(tmp_path))
    assert folder.parent == tmp_path
    assert updates == {"jax_compilation_cache_dir": str(folder)}
    assert compile_cache.use_compile_cache(str(tmp_path)) == folder
    monkeypatch.setattr(Path, "read_text", lambda self: "flags\t: fpu sse9\n")
    assert compile_cache.use_compile_cache(str(tmp_path)) != folder


def test_on_with_an_accelerator_unless_turned_off(updates, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert compile_cache.use_compile_cache(None) == compile_cache.DEFAULT.expanduser()
    assert compile_cache.use_compile_cache("off") is None
    assert updates["jax_enable_compilation_cache"] is False


def test_the_environment_counts_where_nothing_is_said(updates, monkeypatch, tmp_path):
    monkeypatch.setattr(type(jax.config), "jax_compilation_cache_dir", str(tmp_path), raising=False)
    assert compile_cache.use_compile_cache(None) == tmp_path
    assert updates == {}
