"""Options for XLA's compiler, given to one program at a time and not to the whole process."""

import functools

import jax

# Matrix products, and convolutions of bfloat16, by oneDNN: two to three times as fast as XLA's
# own in bfloat16, and in float32 at their full rate whichever operand is transposed.
_ONEDNN = "xla_cpu_experimental_onednn_custom_call"


def compiler_options(platform: str) -> dict[str, bool]:
    """Options for programs that compute convolutions.

    Args:
      platform: of the devices, such as "cpu".

    Returns:
      What ``jax.jit(..., compiler_options=...)`` takes. Empty for accelerators; where this version
      of JAX does not know the option; and where compiled programs are kept on disk, which JAX
      cannot do with those that call oneDNN.
    """
    kept = jax.config.jax_enable_compilation_cache and jax.config.jax_compilation_cache_dir
    return {_ONEDNN: True} if platform == "cpu" and not kept and _is_known(_ONEDNN) else {}


@functools.cache
def _is_known(name):
    try:
        jax.jit(lambda: 0, compiler_options={name: True}).lower().compile()
    except (jax.errors.JaxRuntimeError, ValueError):
        return False
    return True
