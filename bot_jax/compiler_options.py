"""Options for XLA's compiler, given to one program at a time and not to the whole process."""

import functools

import jax

# Matrix products, and convolutions of bfloat16, by oneDNN: two to three times as fast as XLA's
# own in bfloat16, and in float32 at their full rate whichever operand is transposed. In float16 it
# is some 200 times slower than XLA's own on CPUs that have instructions for it (Xeons with AMX).
_ONEDNN = "xla_cpu_experimental_onednn_custom_call"
# Of cuDNN's and XLA's algorithms only those that add up in the same order each time: without it two
# runs of one seed on a GPU differ from the first step on, and a resumed one from that which went
# through.
ONE_ORDER = "xla_gpu_exclude_nondeterministic_ops"


def compiler_options(platform: str, *, has_float16: bool = False) -> dict[str, bool]:
    """Options for programs that compute convolutions.

    Args:
      platform: of the devices, such as "cpu".
      has_float16: whether a model in the program computes in float16.

    Returns:
      What ``jax.jit(..., compiler_options=...)`` takes. An option is left out where this version
      of JAX does not know it; oneDNN also in float16, and where compiled programs are kept on disk,
      which JAX cannot do with those that call it.
    """
    if platform == "cpu":
        kept = jax.config.jax_enable_compilation_cache and jax.config.jax_compilation_cache_dir
        option = None if kept or has_float16 else _ONEDNN
    else:
        option = ONE_ORDER if platform in ("gpu", "cuda") else None
    return {option: True} if option and _is_known(option) else {}


@functools.cache
def _is_known(name):
    try:
        jax.jit(lambda: 0, compiler_options={name: True}).lower().compile()
    except (jax.errors.JaxRuntimeError, ValueError):
        return False
    return True
