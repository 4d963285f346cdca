"""Which of two forms of a computation is compiled: one for CPUs, and one for everything else.

The platform that is compiled for decides, not the one that compiles: `bot_jax.plan` compiles for
GPUs on a machine without any.
"""

import contextlib
import contextvars
from collections.abc import Callable, Iterator

import jax

_PLATFORM = contextvars.ContextVar("the platform that is traced for", default=None)


@contextlib.contextmanager
def traced_for(platform: str) -> Iterator[None]:
    """Inside, `by_platform` traces the form for `platform` alone, such as "cpu".

    To trace both, and to leave one out when the program is lowered, takes longer: 1.16 times for
    the training step of a ResNet-50.
    """
    token = _PLATFORM.set(platform)
    try:
        yield
    finally:
        _PLATFORM.reset(token)


def by_platform(*arguments, cpu: Callable, default: Callable):
    """``cpu(*arguments)`` on CPUs and ``default(*arguments)`` elsewhere.

    Both return arrays of the same shapes and dtypes. Outside of `traced_for` that is
    `jax.lax.platform_dependent`.
    """
    platform = _PLATFORM.get()
    if platform is None:
        return jax.lax.platform_dependent(*arguments, cpu=cpu, default=default)
    return (cpu if platform == "cpu" else default)(*arguments)
