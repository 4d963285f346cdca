"""Options for XLA's compiler, given to one program at a time and not to the whole process."""

import functools

import jax

# Matrix products, and convolutions of bfloat16, by oneDNN: two to three times as fast as XLA's
# own in bfloat16, and in float32 at their full rate whichever operand is transposed.
_ONEDNN = "xla_cpu_experimental_onednn_custom_call"
# Of cuDNN's and XLA's algorithms only those that add up in the same order each time: without it two
# runs of one seed on a GPU differ from the first step on, and a resumed one from that which went
# through.
ONE_ORDER = "xla_gpu_exclude_nondeterministic_ops"


def compiler_options(platform: str) -> dict[str, bool]:
    """Options for programs that compute convolutions.

    Args:
      platform: of the devices, such as "cpu".

    Returns:
      What ``jax.jit(..., compiler_options=...)`` takes. An option is left out where this version
      of JAX does not know it; oneDNN also where compiled programs are kept on disk, which JAX
      cannot do with those that call it.
    """
    if platform == "cpu":
        kept = jax.config.jax_enable_compilation_cache and jax.config.jax_compilation_cache_dir
        option = None if kept else _ONEDNN
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
