"""Fetching the first element of an iterator before it is asked for."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

_NOTHING = object()


def start_early(elements: Iterator) -> Iterator:
    """Begins at once to fetch the first of `elements`, in a thread, and returns all of them.

    What goes wrong there is raised where the element is asked for.
    """
    pool = ThreadPoolExecutor(1, thread_name_prefix="first element")
    first = pool.submit(next, elements, _NOTHING)
    pool.shutdown(wait=False)

    def all_of_them():
        if first.result() is not _NOTHING:
            yield first.result()
            yield from elements

    return all_of_them()
