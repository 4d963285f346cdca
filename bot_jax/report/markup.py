"""HTML as text, where what comes from a run cannot become a part of the page.

Names of classes, files and runs and values of configurations are texts from elsewhere. They are
escaped where they are put into an element; only what is `Markup` already is not.
"""

import html
import re

_VOID = {"br", "circle", "img", "input", "line", "meta", "path"}
# Of so many parts of a section all are open at first, and else the first one.
OPENED = 4
# Neither a control character nor half of a surrogate pair, as a name of bytes has it, is allowed.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


class Markup(str):
    """Text that is HTML."""

    __slots__ = ()


def escape(text) -> Markup:
    """Any value as text of a page; what no page can have becomes a question mark in a diamond."""
    if isinstance(text, Markup):
        return text
    return Markup(html.escape(_FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", str(text))))


def shorten(text, length: int = 80) -> str:
    """The text, cut in the middle where it has more than `length` characters."""
    text = str(text)
    if len(text) <= length:
        return text
    half = (length - 1) // 2
    return f"{text[:half]}…{text[-half:]}"


def element(tag: str, *children, **attributes) -> Markup:
    """An element of a page.

    Args:
      tag: its name.
      *children: what is inside: texts, elements, or lists of them; None is nothing.
      **attributes: its attributes; an underscore is a hyphen, and one at the end is dropped, so
        that ``class_`` is class. None leaves one out, True has no value.
    """
    text = f"<{tag}"
    for name, value in attributes.items():
        if value is True:
            text += f" {_hyphens(name)}"
        elif value is not None:
            text += f' {_hyphens(name)}="{escape(value)}"'
    if tag in _VOID:
        return Markup(text + ">" if tag not in ("circle", "line", "path") else text + "/>")
    return Markup(f"{text}>{join(children)}</{tag}>")


def _hyphens(name):
    return name.removesuffix("_").replace("_", "-")


def join(children) -> Markup:
    """Texts, elements and lists of them, one after the other."""
    parts = []
    for child in children:
        if isinstance(child, list | tuple):
            parts.append(join(child))
        elif child is not None:
            parts.append(escape(child))
    return Markup("".join(parts))


def block(heading, content, *, opened: bool) -> Markup:
    """A part of a section that can be folded, and is folded unless it is `opened`."""
    summary = element("summary", element("h3", heading))
    return element("details", summary, content, class_="block", open=opened or None)


def rows_table(head: list, rows: list[list], *, row_class=None, class_: str | None = None):
    """A table that scrolls sideways where it is too wide; the first cell of a row is its heading.

    Args:
      head: the cells of the first line.
      rows: the others.
      row_class: function of the number of a row, its class or None.
      class_: of the table.
    """
    lines = [
        element(
            "tr",
            element("th", row[0], scope="row"),
            [element("td", cell) for cell in row[1:]],
            class_=row_class and row_class(i),
        )
        for i, row in enumerate(rows)
    ]
    header = element("tr", [element("th", cell, scope="col") for cell in head])
    table = element("table", element("thead", header), element("tbody", lines), class_=class_)
    return element("div", table, class_="scroll", tabindex="0")
