"""Linear scaling of the learning rate with the batch size.

    eta = base * b / 256

Source: Goyal et al., arXiv 1706.02677, section 2.1; arXiv 1812.01187, section 3.1: 0.1 for a
batch of 256, so 0.4 for 1024.
"""


def scaled_learning_rate(base, batch_size, base_batch_size=256):
    """Returns ``base * batch_size / base_batch_size``; batch_size is the global batch."""
    return base * batch_size / base_batch_size
