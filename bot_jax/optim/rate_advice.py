"""Which learning rate suits pretrained weights, by the number of images.

    up to 1,000 images   0.001
    in between           10^(-3 + (log10(n) - 3) / 2)
    from 100,000 on      0.01, and more where there are many more

for SGD with momentum at a batch of 256. Source: PaddleClas's FAQ, Q5.9, which says 0.001 below
1,000 images and 0.01 or more above 100,000. Between them it says nothing; here it is a straight
line in logarithms.
"""

import math

FEW, MANY = 1_000, 100_000
_LOW, _HIGH = 1e-3, 1e-2
# ImageNet's rate for training from scratch, and its classes.
_FROM_SCRATCH, _IMAGENET_CLASSES = 0.1, 1_000
# Further from the advice than this is worth a warning.
_FAR = 10.0


def advised_rate(num_examples: int, batch_size: int = 256) -> float:
    """The formula above, scaled linearly with the batch.

    Args:
      num_examples: images of the training split.
      batch_size: of a step.
    """
    part = math.log(num_examples / FEW) / math.log(MANY / FEW)
    part = min(max(part, 0.0), 1.0)
    return _LOW * (_HIGH / _LOW) ** part * batch_size / 256


def rate_warning(rate: float, *, num_examples: int, num_classes: int, batch_size: int) -> str:
    """What is wrong with a learning rate for pretrained weights; "" where nothing is.

    Args:
      rate: the learning rate after the warmup.
      num_examples: images of the training split.
      num_classes: of the data.
      batch_size: of a step.
    """
    ratio = rate / advised_rate(num_examples, batch_size)
    # A rate is the product of a few numbers: ten times is not more than ten times.
    far = _FAR * (1 + 1e-9)
    if ratio > far:
        return f"{ratio:.3g} times the advice: pretrained weights may be forgotten"
    if ratio < 1 / far:
        text = "nothing is learnt" if not ratio else f"{1 / ratio:.3g} times less than the advice"
        return f"{text}: this may take very long"
    if rate * 256 / batch_size >= _FROM_SCRATCH and num_classes < _IMAGENET_CLASSES:
        return (
            f"{_FROM_SCRATCH:g} at a batch of 256 is for ImageNet from scratch, and these are "
            f"{num_classes:,} classes: pretrained weights may be forgotten"
        )
    return ""
