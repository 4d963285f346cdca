"""Class imbalance: `config.data.balance` says what is done where classes differ in size.

    none       nothing
    weights    the loss of an example is multiplied by n / (K n_k) of its class
    resample   the examples of a class are repeated in turn until it is as large as the largest one

with n examples, K classes, and n_k examples of class k. The weights have mean 1 over the data, so
that the loss and the learning rate keep their scale, and every class has the same sum of weights.
Mixed examples have the mixture of their weights. (PyTorch's `CrossEntropyLoss(weight=...)` divides
by the sum of a batch's weights; here it is, as without weights, by the number of examples.)

Resampling makes an epoch longer: K times the largest class. What is repeated gets other crops and
colours each time. Each epoch has its permutation as always, so that a run goes on where it stopped,
and what is left over after whole batches is dropped.

Source: Japkowicz and Stephen, "The class imbalance problem: a systematic study" (2002), compares
random oversampling and costs by class size.
"""

import dataclasses

import numpy as np

from bot_jax.data.source import Source
from bot_jax.data.tensorflow_cpu import tf
from bot_jax.errors import InputError, check_choice

BALANCES = ("none", "resample", "weights")


@dataclasses.dataclass(frozen=True)
class Balance:
    """How large the classes of the training data are, and what is done about it.

    Attributes:
      source: the training split, resampled where that was asked for.
      counts: int [K], the labelled examples of each class before that; None where the source does
        not know them.
      weights: float32 [K], of the losses; None where losses have no weights.
    """

    source: Source
    counts: np.ndarray | None
    weights: np.ndarray | None


def balance_classes(source: Source, balance: str, *, trained: bool = True) -> Balance:
    """Balances a training split.

    Args:
      source: the split.
      balance: `config.data.balance`.
      trained: False where nothing will run: a source that does not know its labels then passes.

    Raises:
      InputError: the name is not known, the source does not know its labels before it is read, or a
        class has no examples.
    """
    check_choice("config.data.balance", balance, BALANCES)
    num_classes = len(source.class_names)
    if source.labels is None:
        if balance != "none" and trained:
            raise InputError(
                f"config.data.balance = {balance!r} needs to know the class of every example "
                f"beforehand, which {source.name} does not say: give the data as a folder or as "
                "lists, or set config.data.balance to 'none'."
            )
        return Balance(source, None, np.ones(num_classes) if balance == "weights" else None)
    counts = np.bincount(source.labels[source.labels >= 0], minlength=num_classes)
    if balance == "none":
        return Balance(source, counts, None)
    empty = [name for name, count in zip(source.class_names, counts, strict=True) if not count]
    if empty:
        raise InputError(
            f"config.data.balance = {balance!r}: {source.name} has no examples of "
            f"{', '.join(empty[:10])}{' ...' if len(empty) > 10 else ''}. Add some, or remove the "
            "class."
        )
    if balance == "weights":
        return Balance(source, counts, class_weights(counts))
    return Balance(resample(source), counts, None)


def class_weights(counts: np.ndarray) -> np.ndarray:
    """``n / (K n_k)`` of each class, float32 [K]; `counts` is int [K], each above 0."""
    return (counts.sum() / (len(counts) * counts)).astype(np.float32)


def resample(source: Source) -> Source:
    """A source in which every class occurs as often as the largest one of `source`.

    Class by class it has the members of the class, in order and again from the first one, until
    there are enough.

    Args:
      source: with random access and labels, and at least one example of every class.
    """
    members = [np.flatnonzero(source.labels == k) for k in range(len(source.class_names))]
    size = max(map(len, members))
    originals = np.concatenate([np.resize(of_class, size) for of_class in members])
    table = tf.constant(originals, tf.int64)
    return dataclasses.replace(
        source,
        num_examples=len(originals),
        describe=lambda index: source.describe(int(originals[index])),
        read=lambda index: source.read(table[index]),
        labels=source.labels[originals],
    )


def describe_balance(config, balance: Balance) -> list[tuple[str, str]]:
    """What a run's table says of its classes."""
    counts, weights = balance.counts, balance.weights
    if counts is None:
        return []
    names = balance.source.class_names
    least, most = int(counts.argmin()), int(counts.argmax())
    rows = [
        (
            "examples a class",
            f"{counts[least]:,} ({names[least]}) to {counts[most]:,} ({names[most]})",
        )
    ]
    if weights is not None:
        rows += [("class weights", f"{weights.min():.4g} to {weights.max():.4g}")]
    if config.data.balance == "resample":
        rows += [("resampled", f"every class {counts.max():,} times an epoch")]
    if config.data.unlabelled:
        rows += [("unlabelled", f"{balance.source.num_examples - counts.sum():,} images")]
    return rows
