"""Knowledge distillation: the student also learns what a teacher makes of the same image.

    l(p, softmax(z)) + T^2 l(softmax(r / T), softmax(z / T))          (paper)
    h l(p, softmax(z)) + (1 - h) T^2 l(softmax(r / T), softmax(z / T)), h = 1/2   (released code)

with the cross-entropy l, targets p, logits z of the student and r of the teacher, and a temperature
T = 20.

Source: Hinton et al., arXiv 1503.02531, section 2; arXiv 1812.01187, section 5.3, equation 6; the
released code (GluonCV) has half of the paper's loss. The teacher sees the very images that the
student sees, mixed where they are, in inference mode. Whether p is smoothed the paper does not say;
here, as in the released code, it is where `config.label_smoothing` says so.

The gradient of the second term with respect to z is ``T (softmax(z / T) - softmax(r / T))``. The
term itself is large, ``T^2 log K`` for a student that knows nothing (2,763 at T = 20 and K = 1000),
and it is not zero for a perfect one: it is a cross-entropy, not a divergence.
"""

import jax
import jax.numpy as jnp

from bot_jax.losses.cross_entropy import cross_entropy


def distillation_loss(logits, teacher_logits, temperature=20.0):
    """``T^2 l(softmax(r / T), softmax(z / T))`` of each example, in nats.

    Args:
      logits: z, float [b, K] of any precision.
      teacher_logits: r, likewise; no gradient goes to them.
      temperature: T, above 0.

    Returns:
      float32 [b].
    """
    teacher_logits = jax.lax.stop_gradient(teacher_logits).astype(jnp.float32)
    targets = jax.nn.softmax(teacher_logits / temperature, axis=-1)
    student = logits.astype(jnp.float32) / temperature
    return temperature**2 * cross_entropy(student, targets)
