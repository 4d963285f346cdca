"""Knowledge distillation: the student also learns what a teacher makes of the same image.

    l(p, softmax(z)) + T^2 l(softmax(r / T), softmax(z / T))          (paper)
    h l(p, softmax(z)) + (1 - h) T^2 l(softmax(r / T), softmax(z / T)), h = 1/2   (released code)

with the cross-entropy l, targets p, logits z of the student and r of the teacher, and a temperature
T = 20. `config.distillation.form` replaces the cross-entropy with the teacher by another loss:

    cross_entropy   l(softmax(r / T), softmax(z / T)), as above
    symmetric_kl    the mean of both Kullback-Leibler divergences, symmetric_kl.py

With a weight of 0 for the labels the loss knows none, and images without a label can be learned
from.

Source: Hinton et al., arXiv 1503.02531, section 2; arXiv 1812.01187, section 5.3, equation 6; the
released code (GluonCV) has half of the paper's loss. The teacher sees the very images that the
student sees, mixed where they are, in inference mode. Whether p is smoothed the paper does not say;
here, as in the released code, it is where `config.label_smoothing` says so.

The gradient of the second term with respect to z is ``T (softmax(z / T) - softmax(r / T))``. The
term itself is large, ``T^2 log K`` for a student that knows nothing (2,763 at T = 20 and K = 1000),
and it is not zero for a perfect one: it is a cross-entropy, not a divergence.
"""

import jax

from bot_jax.errors import check_choice
from bot_jax.losses.cross_entropy import cross_entropy
from bot_jax.losses.symmetric_kl import symmetric_kl
from bot_jax.models.groups import at_least_float32


def _soft_cross_entropy(logits, teacher_logits):
    return cross_entropy(logits, jax.nn.softmax(teacher_logits, axis=-1))


FORMS = {"cross_entropy": _soft_cross_entropy, "symmetric_kl": symmetric_kl}


def distillation_loss(logits, teacher_logits, temperature=20.0, form="cross_entropy"):
    """``T^2 l(softmax(r / T), softmax(z / T))`` of each example, in nats.

    Args:
      logits: z, float [b, K] of any precision.
      teacher_logits: r, likewise; no gradient goes to them.
      temperature: T, above 0.
      form: "cross_entropy" or "symmetric_kl", which l.

    Returns:
      float32 [b], or wider.

    Raises:
      InputError: unknown form.
    """
    check_choice("distillation form", form, FORMS)
    teacher_logits = jax.lax.stop_gradient(teacher_logits)
    softened = (x.astype(at_least_float32(x.dtype)) / temperature for x in (logits, teacher_logits))
    return temperature**2 * FORMS[form](*softened)
