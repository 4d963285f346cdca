"""Options for XLA's compiler, given to one program at a time and not to the whole process."""

import functools

import jax

# Matrix products, and convolutions of bfloat16, by oneDNN: two to three times as fast as XLA's
# own in bfloat16, and in float32 at their full rate whichever operand is transposed.
_CPU = {"xla_cpu_use_onednn": True, "xla_cpu_experimental_onednn_custom_call": True}


def compiler_options(platform: str) -> dict[str, bool]:
    """Options for programs that compute convolutions.

    Args:
      platform: of the devices, such as "cpu".

    Returns:
      What ``jax.jit(..., compiler_options=...)`` takes; empty for accelerators. Options that this
      version of JAX does not know are left out; those that its build cannot act on do nothing.
    """
    if platform != "cpu":
        return {}
    return {name: value for name, value in _CPU.items() if _is_known(name, value)}


@functools.cache
def _is_known(name, value):
    try:
        jax.jit(lambda: 0, compiler_options={name: value}).lower().compile()
    except (jax.errors.JaxRuntimeError, ValueError):
        return False
    return True
