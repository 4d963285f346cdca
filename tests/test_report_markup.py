"""Nothing of a text can become markup, by Python's own parser."""

import pytest
from report_helpers import parse

from bot_jax.report.markup import Markup, element, escape, join, rows_table, shorten

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</td></table><h1>",
    "' onmouseover='alert(1)",
    "&lt;b&gt;",
    "<!--",
)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_text_stays_a_text(text):
    page = element("p", text, ["and ", text], title=text, data_run=text)
    parsed = parse(page)
    assert parsed.tags == ["p"]
    assert "".join(parsed.texts) == f"{text}and {text}"


def test_what_is_markup_is_not_escaped_again():
    assert element("b", element("i", "<")) == "<b><i>&lt;</i></b>"
    assert isinstance(element("b"), Markup)
    assert join(["a", None, [Markup("<br>"), "&"]]) == "a<br>&amp;"
    assert element("p", open=True, class_="x", id=None) == '<p open class="x"></p>'


def test_what_no_page_can_have_is_replaced():
    name = b"caf\xe9".decode("utf-8", "surrogateescape")  # a file name of another encoding
    assert escape(name).encode() == "caf\N{REPLACEMENT CHARACTER}".encode()
    assert escape("a\x00b\x1bc\n") == "a\ufffdb\ufffdc\n"
    assert escape("狐狸 \N{DOG FACE}") == "狐狸 \N{DOG FACE}"


def test_shortened_in_the_middle():
    assert shorten("x" * 80) == "x" * 80
    short = shorten("abcdefghij" * 10, 21)
    assert short == "abcdefghij…abcdefghij"


def test_a_table_has_its_cells_and_headings():
    table = rows_table(["", "a"], [["x", "<1>"], ["y", 2]], row_class=lambda i: [None, "mark"][i])
    parsed = parse(table)
    assert parsed.tags.count("tr") == 3
    assert parsed.tags.count("td") == 2
    assert parsed.texts == ["a", "x", "<1>", "y", "2"]
    assert '<tr class="mark"><th scope="row">y' in table
