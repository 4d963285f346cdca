"""Compiled programs kept on disk, so that a second start need not compile (JAX does the work).

On a CPU it is off unless asked for: a program compiled for one processor may fail on another that
shares the folder, and JAX cannot keep programs that call oneDNN, so that the steps are slower. For
each kind of processor there is a folder of its own then.
"""

import hashlib
import platform
from pathlib import Path

DEFAULT = Path("~/.cache/bot_jax/compiled")
OFF = "off"


def use_compile_cache(folder: str | None) -> Path | None:
    """Turns the cache on.

    Args:
      folder: where programs are kept; None for `DEFAULT` on accelerators and nothing on a CPU, or
        "off". JAX_COMPILATION_CACHE_DIR in the environment counts where it is None.

    Returns:
      The folder in use, or None.
    """
    import jax

    if folder is None and jax.config.jax_compilation_cache_dir:
        return Path(jax.config.jax_compilation_cache_dir)
    on_cpu = jax.default_backend() == "cpu"
    if folder == OFF or (folder is None and on_cpu):
        jax.config.update("jax_enable_compilation_cache", False)
        return None
    path = Path(folder or DEFAULT).expanduser().absolute()
    if on_cpu:
        path /= _processor()
    jax.config.update("jax_compilation_cache_dir", str(path))
    return path


def _processor() -> str:
    """A name that is the same on processors with the same instructions."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        facts = [line for line in lines if line.startswith(("flags", "Features", "model name"))]
    except OSError:
        facts = []
    facts = sorted(set(facts)) or [platform.platform(), platform.processor()]
    return f"cpu-{hashlib.sha256(chr(10).join(facts).encode()).hexdigest()[:12]}"
