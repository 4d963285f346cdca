"""A split of which only the size matters, for those who compile a step without running it."""

from bot_jax.data.sizes import KNOWN_SIZES
from bot_jax.data.source import Source, make_source


def absent_source(
    config_data, split: str, examples: int | None = None, classes: int | None = None
) -> Source:
    """A split of `config_data` that cannot be read.

    Args:
      config_data: `config.data`.
      split: its name.
      examples, classes: how many there are; default those of the data, where they are known or
        there.

    Raises:
      InputError: they are neither given nor known, and the data are not there.
    """
    labels = None
    if not (examples and classes):
        known = KNOWN_SIZES.get(config_data.tfds_name) if config_data.source == "tfds" else None
        if known and split in known:
            examples, classes = examples or known[split], classes or known["classes"]
        else:
            source = make_source(config_data, split)
            labels = None if examples else source.labels
            examples = examples or source.num_examples
            classes = classes or len(source.class_names)
    names = tuple(f"class {i}" for i in range(classes))
    name = f"{split} data that are not read"
    return Source(name, examples, names, str, read=lambda index: None, labels=labels)
