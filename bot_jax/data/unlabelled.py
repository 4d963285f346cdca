"""Images without labels, for a teacher to say what they show.

`config.data.unlabelled` is a folder of images, in any sub-folders. They follow the examples of the
training split, with the label `UNLABELLED`. (-1 is an example that does not count at all.)

Source: Cui et al., arXiv 2103.05959 (SSLD): the student learns from a teacher alone, so
that images without labels serve as well.
"""

import os

from bot_jax.data.folder import images_below, with_files
from bot_jax.data.labels import UNLABELLED
from bot_jax.data.source import Source
from bot_jax.errors import InputError
from bot_jax.remote import refuse_url

_FIELD = "config.data.unlabelled"


def check_unlabelled(config) -> None:
    """Refuses images without labels where nothing can be learnt from them, with an `InputError`."""
    if not config.data.unlabelled:
        return
    if not config.distillation.teacher:
        raise InputError(
            f"{_FIELD} = {config.data.unlabelled!r} needs a teacher, which says what the images "
            "show: set config.distillation.teacher. Without one see "
            "`python -m bot_jax.pseudo_label --help`."
        )
    if config.data.balance != "none":
        raise InputError(
            f"{_FIELD} and config.data.balance = {config.data.balance!r} do not go together: "
            "images without labels have no class to balance. Leave out one of them."
        )


def with_unlabelled(source: Source, folder: str) -> Source:
    """Adds the images of `folder` to a training split.

    Raises:
      InputError: there is no such folder, it has no images, or the source reads record files.
    """
    if not source.read:
        raise InputError(
            f"{_FIELD} cannot be added to {source.name}, which is read from record files. Give the "
            "data as a folder or as lists."
        )
    refuse_url(_FIELD, folder)
    folder = os.path.abspath(folder)
    paths = [os.path.join(folder, path) for path in images_below(folder, _FIELD)]
    return with_files(source, paths, UNLABELLED, f"{source.name} and unlabelled {folder}")
