"""Names of `config.imports` for tests of signals: process 1 of a run gets one at a chosen moment.

BOT_JAX_TEST_MOMENT is "evaluation" or "saving": SIGTERM, where the first one begins. "hanging": all
processes stay in their first evaluation, as if it never ended, and say so. "none": nothing.
"""

import os
import signal
import time

import jax

from bot_jax.checkpoint import Checkpoints
from bot_jax.run_evaluation import RunEvaluation

_MOMENT = os.environ["BOT_JAX_TEST_MOMENT"]
_OWNER, _NAME = (Checkpoints, "save") if _MOMENT == "saving" else (RunEvaluation, "measure")
_original, _sent = getattr(_OWNER, _NAME), []


def _signalled(*arguments, **keywords):
    if _MOMENT == "hanging":
        print("hanging", flush=True)
        while True:  # a signal's handler runs in between
            time.sleep(0.1)
    if _MOMENT != "none" and not _sent and jax.process_index() == 1:
        _sent.append(True)
        os.kill(os.getpid(), signal.SIGTERM)
    return _original(*arguments, **keywords)


setattr(_OWNER, _NAME, _signalled)
