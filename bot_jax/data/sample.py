"""A few examples of a split, always the same ones: to look at, to evaluate, or to learn from."""

import dataclasses

import numpy as np

from bot_jax.data.source import Source
from bot_jax.data.tensorflow_cpu import tf


def sample_source(source: Source, num_examples: int) -> Source:
    """A source of `num_examples` of the examples of another one, or of all where it has fewer.

    With random access example i is example ``floor(i N / n)`` of the N: evenly spread, so that
    every class of a source that is sorted by class has its share. Record files are read from
    their beginning only: it is the first n in the order of the files, for every epoch.

    Args:
      source: of all examples.
      num_examples: n, at least 1.
    """
    if num_examples >= source.num_examples:
        return source
    name = f"{num_examples:,} examples of {source.name}"
    if source.read is None:
        return dataclasses.replace(
            source,
            name=name,
            num_examples=num_examples,
            stream=lambda epoch, seed: source.stream(None, seed).take(num_examples),
        )
    members = np.arange(num_examples) * source.num_examples // num_examples
    table = tf.constant(members, tf.int64)
    return dataclasses.replace(
        source,
        name=name,
        num_examples=num_examples,
        describe=lambda index: source.describe(int(members[index])),
        read=lambda index: source.read(table[index]),
        labels=None if source.labels is None else source.labels[members],
    )
