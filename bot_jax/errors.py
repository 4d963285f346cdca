"""Errors that are written for the person who runs the program."""

import contextlib
import difflib
import functools
import os
import sys
import traceback
from collections.abc import Callable, Iterable


class InputError(Exception):
    """Something that the user gave is wrong: a file, an option, a value.

    The message says what was wrong, where, and what to do. Commands print it as one line
    on standard error and end with exit code 2; it never appears as a traceback.
    """


class TrainingFailed(Exception):
    """The run cannot go on; what was saved before is intact. Exit code 1."""


def command(main: Callable[[list[str] | None], int]) -> Callable[[list[str] | None], int]:
    """Decorates the `main` of a command: how it ends where it cannot go on.

    An `InputError` is printed on standard error and ends it with 2, Ctrl-C with "Stopped." and 130.
    Where nobody reads the output any more, as after `| head`, it ends with 0.
    """

    @functools.wraps(main)
    def ends_in_words(arguments=None) -> int:
        try:
            code = main(arguments)
            sys.stdout.flush()
            return code
        except InputError as error:
            print(f"Error: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print("Stopped.", file=sys.stderr)
            return 130
        except BrokenPipeError:
            # Python flushes once more at its end, and would fail again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0

    return ends_in_words


def suggest(word: str, valid: Iterable[str]) -> str:
    """Returns ``" Did you mean 'NAME'?"`` for the valid name nearest to `word`, else ``""``."""
    near = difflib.get_close_matches(str(word), list(valid), n=1, cutoff=0.5)
    return f" Did you mean {near[0]!r}?" if near else ""


def check_choice(what: str, value: str, valid: Iterable[str]) -> None:
    """Raises `InputError` unless `value` is one of `valid`; `what` names the option."""
    valid = sorted(valid)
    if value not in valid:
        raise InputError(
            f"{what} = {value!r} is not known.{suggest(value, valid)} Valid: {', '.join(valid)}."
        )


@contextlib.contextmanager
def errors_in_words(path):
    """Whatever goes wrong in a file of the user's code becomes an `InputError` with its line."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        # The loader makes the path absolute.
        files = (str(path), str(path.absolute()))
        places = [f for f in traceback.extract_tb(error.__traceback__) if f.filename in files]
        line = f", line {places[-1].lineno}" if places else ""
        raise InputError(f"{path}{line}: {type(error).__name__}: {error}") from error
