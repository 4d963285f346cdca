"""Symmetric Kullback-Leibler divergence of two softmaxes: the loss of SSLD.

    (KL(p || q) + KL(q || p)) / 2 = sum_k (p_k - q_k) (log p_k - log q_k) / 2,
    p = softmax(z) of the student,  q = softmax(r) of the teacher

Source: the released code of SSLD (PaddleClas, `DMLLoss`), arXiv 2103.05959: a sum over the classes
and a mean over the images, at temperature 1, without a loss against labels. Its documentation calls
it the Jensen-Shannon divergence, which is another one (of both to their mean, at most log 2). There
the teacher normalises with the statistics of the batch; here with its own, as in all distillation.

It is 0 where both agree. Its gradient with respect to z_k is

    (p_k - q_k + p_k (log p_k - log q_k - KL(p || q))) / 2

so that, unlike the gradient of a cross-entropy, it is not bounded: a student that is sure of what
the teacher rules out is corrected the more.
"""

import jax
import jax.numpy as jnp

from bot_jax.models.groups import at_least_float32


def symmetric_kl(logits, other_logits):
    """The divergence of each example, in nats.

    Args:
      logits, other_logits: float [b, K] of any precision; the order does not matter.

    Returns:
      float32 [b], or wider.
    """
    log_p, log_q = (
        jax.nn.log_softmax(x.astype(at_least_float32(x.dtype)), axis=-1)
        for x in (logits, other_logits)
    )
    return jnp.sum((jnp.exp(log_p) - jnp.exp(log_q)) * (log_p - log_q), axis=-1) / 2
