"""Code from outside the package: `config.imports` names it, decorators register it."""

import importlib
import importlib.util
import sys
from pathlib import Path

from bot_jax.errors import InputError, errors_in_words


def import_extensions(imports: str) -> None:
    """Imports modules, so that what they register is known.

    Args:
      imports: modules ("my_package.tricks") or files ("tricks.py"), separated by commas. They
        are code: name only what you trust.

    Raises:
      InputError: there is no such module or file, or an error inside it; it names the line.
    """
    for name in filter(None, (part.strip() for part in imports.split(","))):
        if name.endswith(".py"):
            _import_file(Path(name))
        else:
            _import_module(name)


def _import_file(path):
    if not path.is_file():
        raise InputError(f"config.imports: there is no file {path.absolute()}.")
    key = f"bot_jax_extension:{path.resolve()}"
    if key in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(key, path)
    module = sys.modules[key] = importlib.util.module_from_spec(spec)
    try:
        with errors_in_words(path):
            spec.loader.exec_module(module)
    except InputError:
        del sys.modules[key]
        raise


def _import_module(name):
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and name.startswith(error.name):
            raise InputError(
                f"config.imports: there is no module {name!r} in this environment or in the "
                f"current folder. A file is named with its ending: {name.rpartition('.')[2]}.py."
            ) from error
        raise InputError(
            f"config.imports: {name} needs a module that is not here: {error}"
        ) from error
