"""Weight decay touches the weights of convolutions and dense layers alone (paper, section 3.1)."""

import jax
import numpy as np

from bot_jax.optim.no_bias_decay import decay_mask

PARAMS = {
    "stem": {
        "conv1": {"kernel": np.zeros((3, 3, 3, 8))},
        "bn1": {"scale": np.zeros(8), "bias": np.zeros(8)},
    },
    "kernel_mixer": {"alpha": np.zeros(8), "table": np.zeros((8, 8))},
    "gain": {"kernel": np.zeros(8)},
    "head": {"kernel": np.zeros((8, 10)), "bias": np.zeros(10)},
}


def test_true_exactly_for_kernels():
    """By name, not by shape: a two-dimensional leaf of another name is not decayed."""
    assert decay_mask(PARAMS) == {
        "stem": {"conv1": {"kernel": True}, "bn1": {"scale": False, "bias": False}},
        "kernel_mixer": {"alpha": False, "table": False},
        "gain": {"kernel": True},
        "head": {"kernel": True, "bias": False},
    }


def test_switched_off_everything_decays():
    mask = decay_mask(PARAMS, no_bias_decay=False)
    assert jax.tree.structure(mask) == jax.tree.structure(PARAMS)
    assert all(value is True for value in jax.tree.leaves(mask))
