"""What all augmentations of a batch have in common: mixing happens within batch-norm groups.

So no group waits for another, and neither the number of devices nor that of micro-batches changes
what is mixed. Where several augmentations are on, each group (or the whole batch) gets one of
them by chance, with its option `probability`; what is left of 1 is the chance of none.
"""

import dataclasses
import itertools

import jax
import jax.numpy as jnp

from bot_jax import parallel
from bot_jax.augment.registry import chosen
from bot_jax.errors import InputError
from bot_jax.rng import purpose_of, sample_keys

DRAWS = ("batch", "group")


@dataclasses.dataclass(frozen=True)
class Rows:
    """The rows of a batch that a device holds, for those who mix them.

    Attributes:
      seed: the run's seed.
      ids: uint32 [b], the sample id of each row.
      layout: `parallel.Layout`.
    """

    seed: int
    ids: jax.Array
    layout: parallel.Layout

    @property
    def group_ids(self) -> jax.Array:
        """uint32 [b], the sample id of the first row of each row's group."""
        return parallel.first_of_group(self.ids, self.layout)

    def keys(self, purpose: str) -> jax.Array:
        """Typed JAX keys [b], the same for all rows of a group."""
        return sample_keys(self.seed, purpose_of(purpose), self.group_ids)

    def keys_of_samples(self, purpose: str) -> jax.Array:
        """Typed JAX keys [b], one a row."""
        return sample_keys(self.seed, purpose_of(purpose), self.ids)

    def reverse(self, x: jax.Array) -> jax.Array:
        """The rows x [b, ...] with each group in reverse order: row i becomes row G - 1 - i."""
        return parallel.reverse_groups(x, self.layout)

    def permute(self, x: jax.Array, purpose: str) -> jax.Array:
        """The rows x [b, ...] with each group in a random order, one for each purpose."""
        first = self.group_ids.reshape(self.layout.local_groups, -1)[:, 0]
        keys = sample_keys(self.seed, purpose_of(purpose), first)
        size = self.layout.group_size
        permutations = jax.vmap(lambda key: jax.random.permutation(key, size))(keys)
        return parallel.permute_groups(x, permutations, self.layout)


def column(x: jax.Array, like: jax.Array) -> jax.Array:
    """The numbers x [b] as an array that multiplies the rows of `like` [b, ...]."""
    return x.reshape(-1, *(1,) * (like.ndim - 1))


def mix(images, labels, rows: Rows, config_augment, *, draw, mixes, step):
    """Applies one of the augmentations of a batch to each group, or none.

    Args:
      images: float32 [b, H, W, 3], or float64.
      labels: list of such [b, ...], what is mixed as the images are: targets and the like.
      rows: whose they are.
      config_augment: `config.augment`.
      draw: "group" or "batch", what gets an augmentation of its own.
      mixes: bool scalar, False where nothing is mixed.
      step: int32 scalar, steps done.

    Returns:
      images and labels, mixed.

    Raises:
      InputError: probabilities that sum to more than 1, or a value is wrong.
    """
    augmentations = chosen(config_augment, "batch")
    if not augmentations:
        return images, labels
    limits = _limits(augmentations)
    if draw == "group":
        keys = rows.keys("choice of mixing")
    else:
        (key,) = sample_keys(rows.seed, purpose_of("choice of mixing"), step[None])
        keys = jnp.broadcast_to(key, rows.ids.shape)
    uniform = jax.vmap(lambda key: jax.random.uniform(key, dtype=jnp.float32))(keys)
    new = [images, *labels]
    for (augmentation, options), (low, high) in zip(augmentations, limits, strict=True):
        given = {name: value for name, value in options.items() if name in augmentation.takes}
        mixed, mix_rows = augmentation.function(images, rows, **given)
        happens = mixes & (low <= uniform) & (uniform < high)
        new = [
            jnp.where(column(happens, x), mixed_x, x)
            for x, mixed_x in zip(new, [mixed, *map(mix_rows, labels)], strict=True)
        ]
    return new[0], new[1:]


def _limits(augmentations) -> list[tuple[float, float]]:
    """The part of [0, 1) in which a uniform number chooses each augmentation."""
    probabilities = [options["probability"] for _, options in augmentations]
    ends = list(itertools.accumulate(probabilities))
    if ends[-1] > 1 + 1e-6:
        names = " + ".join(
            f"config.augment.{augmentation.name}.probability = {options['probability']:g}"
            for augmentation, options in augmentations
        )
        raise InputError(f"{names} is more than 1. Make them smaller: images get one of them.")
    return list(zip([0.0, *ends[:-1]], ends, strict=True))
