"""No bias decay: weight decay for the weights of convolutions and dense layers only.

Biases, and gamma and beta of batch norm, are left undecayed.

Source: Jia et al., arXiv 1807.11205; arXiv 1812.01187, section 3.1. Without it GluonCV decays
every parameter, which is the paper's baseline.
"""

import jax


def decay_mask(params, no_bias_decay=True):
    """Which parameters decay.

    Args:
      params: pytree of parameters; weights of convolutions and dense layers are the leaves
        named "kernel".
      no_bias_decay: False to decay every parameter.

    Returns:
      Pytree of bool with the structure of `params`.
    """

    def decays(path, _):
        return not no_bias_decay or path[-1].key == "kernel"

    return jax.tree_util.tree_map_with_path(decays, params)
