"""Sources: who is in a split of a data set, and how to get the encoded bytes of each example."""

import dataclasses
import importlib
from collections.abc import Callable

import numpy as np

from bot_jax.errors import InputError, check_choice

# Source name in the config -> module with a function `make(config_data, split) -> Source`, or, of
# a source from elsewhere, the function.
SOURCES = {
    "digits": "bot_jax.data.digits",
    "folder": "bot_jax.data.folder",
    "list": "bot_jax.data.list_file",
    "synthetic": "bot_jax.data.synthetic",
    "tfds": "bot_jax.data.records",
}
_BACKGROUND = "bot_jax.data.background"  # which imports this module


@dataclasses.dataclass(frozen=True)
class Source:
    """One split of a data set: who is in it and how to get the encoded bytes.

    Exactly one of `read` and `stream` is given.

    Attributes:
      name: for messages, such as ``"folder /data/flowers/train"``.
      num_examples: how many examples the split has.
      class_names: name of each label; the same for every split of a data set.
      describe: example index -> name of the file or record, for messages.
      read: random access. TensorFlow function, int64 index -> (encoded image as a string scalar,
        int32 label). It may fail for a file that cannot be read.
      stream: record files. (int64 epoch, int seed) -> `tf.data.Dataset` of (int64 index, encoded
        image, int32 label) in the shuffled order of that epoch; where the epoch is None, in the
        order of the files.
      labels: int32 [num_examples], the label of each example, where they are known before it is
        read, else None; -2 is an image without a label.
    """

    name: str
    num_examples: int
    class_names: tuple[str, ...]
    describe: Callable[[int], str]
    read: Callable | None = None
    stream: Callable | None = None
    labels: np.ndarray | None = None


def register_source(name: str) -> Callable:
    """Decorator that makes a function (config_data, split) -> `Source` known by `name`.

    What it needs to know beside the fields of `config.data` is in `config.data.options`. It raises
    `InputError`, or OSError, where files are missing or wrong.

    Raises:
      InputError: the name is taken.
    """

    def register(make):
        if name in SOURCES:
            raise InputError(f"A source {name!r} is registered twice. Choose another name.")
        SOURCES[name] = make
        return make

    return register


def make_source(config_data, split: str) -> Source:
    """Opens one split of the data set that `config_data.source` names.

    Args:
      config_data: `config.data`.
      split: such as ``config_data.train_split`` or ``config_data.eval_split``.

    Raises:
      InputError: the source is not known, or its files are missing or wrong.
    """
    check_choice("config.data.source", config_data.source, SOURCES)
    make = SOURCES[config_data.source]
    if isinstance(make, str):
        make = importlib.import_module(make).make
    try:
        source = make(config_data, split)
        # The configuration of a run of an older version has no such field.
        if config_data.get("background"):
            source = importlib.import_module(_BACKGROUND).with_background(
                source, config_data, split
            )
        return source
    except (OSError, UnicodeError) as error:
        raise InputError(
            f"The {config_data.source} data of split {split!r} cannot be read: {error}"
        ) from error
