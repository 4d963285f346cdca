"""Label smoothing: a little of the target's probability goes to every class.

    uniform (released code, default):  q_y = 1 - eps + eps / K,   q_k = eps / K
    paper:                             q_y = 1 - eps,             q_k = eps / (K - 1)

Source: Szegedy et al., arXiv 1512.00567, section 7 (uniform); arXiv 1812.01187, section 5.2,
equation 4 (paper), eps = 0.1. The paper's own code and every other framework use the uniform
form. They are the same up to ``eps_uniform = eps_paper * K / (K - 1)``: at K = 1000 the
difference is 1e-4, at K = 2 it is 0.95 against 0.9.

A network that fits the smoothed targets exactly has a logit for the class that is larger than the
others by a finite gap, and the others are equal:

    uniform:  log((K (1 - eps) + eps) / eps)
    paper:    log((K - 1) (1 - eps) / eps)       9.10 at eps = 0.1, K = 1000
"""

import math

import jax

from bot_jax.errors import check_choice

FORMS = ("uniform", "paper")


def optimal_gap(epsilon, num_classes, form="uniform"):
    """The difference between the largest logit and each other one that fits smoothed targets.

    Args:
      epsilon: above 0 and below 1.
      num_classes: K, at least 2.
      form: "uniform" or "paper".

    Returns:
      Nats, a float.
    """
    check_choice("label smoothing form", form, FORMS)
    if form == "uniform":
        return math.log((num_classes * (1 - epsilon) + epsilon) / epsilon)
    return math.log((num_classes - 1) * (1 - epsilon) / epsilon)


def smooth_labels(labels, num_classes, epsilon=0.1, form="uniform"):
    """Smoothed one-hot targets.

    Args:
      labels: int [b]; below 0 (it does not count, or has no label) gives a row of zeros.
      num_classes: K, at least 2.
      epsilon: in 0..1; 0 gives plain one-hot targets.
      form: "uniform" or "paper".

    Returns:
      float32 [b, K], or float64 where that is JAX's default.

    Raises:
      InputError: unknown form.
    """
    check_choice("label smoothing form", form, FORMS)
    if form == "uniform":
        on, off = 1.0 - epsilon + epsilon / num_classes, epsilon / num_classes
    else:
        on, off = 1.0 - epsilon, epsilon / (num_classes - 1)
    one_hot = jax.nn.one_hot(labels, num_classes, dtype=float)
    counts = (labels >= 0).astype(float)[:, None]
    return counts * (off + (on - off) * one_hot)
