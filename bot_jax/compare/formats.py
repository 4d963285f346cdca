"""Tables of groups and comparisons: aligned text, Markdown, JSON, and a page of HTML."""

import dataclasses
import html
import json

from bot_jax.compare.group import Group, mean_and_spread
from bot_jax.compare.published import SOURCES
from bot_jax.compare.verdict import Comparison

_GROUPS = ("result", "model", "epochs", "pixels", "crop", "examples", "runs", "top-1", "top-5")
_COMPARISONS = ("result", "against", "there", "difference", "95 %", "verdict", "not alike")
_STYLE = """\
body{font:15px/1.45 system-ui,sans-serif;margin:1.5em auto;max-width:75em;padding:0 1em;
color:#1b1f24;background:#fff}h1{font-size:1.4em}h2{font-size:1.1em;margin-top:2em}
.wide{overflow-x:auto}table{border-collapse:collapse}td,th{padding:.35em .7em;text-align:left;
border-bottom:1px solid #ccc;vertical-align:top}.reproduced{color:#116329}
.not{color:#a40e26}small{color:#57606a}
@media(prefers-color-scheme:dark){body{color:#e6edf3;background:#0d1117}
td,th{border-color:#444}.reproduced{color:#56d364}.not{color:#ff7b72}small{color:#9198a1}}"""


def _accuracy(values):
    mean, spread = mean_and_spread(values)
    if mean is None:
        return ""
    return f"{mean:.2f}" + ("" if spread is None else f" ± {spread:.2f}")


def _number(value, form=",.6g"):
    return "?" if value is None else format(value, form)


def group_cells(group: Group) -> list[str]:
    """A line of the table of results."""
    return [
        group.name,
        group.model,
        _number(group.epochs, ".4g"),
        _number(group.image_size),
        _number(group.crop, ".3f"),
        _number(group.examples),
        f"{len(group.top1)}",
        _accuracy(group.top1),
        _accuracy(group.top5),
    ]


def _with_source(group):
    published = group.framework in SOURCES.values()
    return f"{group.name} [{group.source}]" if published else group.name


def comparison_cells(comparison: Comparison) -> list[str]:
    """A line of the table of comparisons."""
    where = comparison.interval
    verdict = comparison.verdict + (f" ({comparison.why})" if comparison.why else "")
    return [
        comparison.of.name,
        _with_source(comparison.to),
        _accuracy(comparison.to.top1),
        f"{comparison.difference:+.2f}",
        "" if where is None else f"{where[0]:+.2f} .. {where[1]:+.2f}",
        verdict,
        "; ".join(comparison.marks),
    ]


def _shortened(text, length=90):
    return text if len(text) <= length else f"{text[: length - 4]} ..."


def _tables(groups, comparisons):
    tables = [("Results", _GROUPS, [group_cells(group) for group in groups])]
    if comparisons:
        lines = [comparison_cells(comparison) for comparison in comparisons]
        tables.append(("Compared", _COMPARISONS, lines))
    return tables


def as_table(groups: list[Group], comparisons: list[Comparison]) -> str:
    """Aligned text; what is not alike stands below its line."""
    text = ""
    for title, names, lines in _tables(groups, comparisons):
        last = names[-1] == "not alike"
        shown = [line[:-1] if last else line for line in [list(names), *lines]]
        shown = [[_shortened(cell) for cell in line] for line in shown]
        widths = [max(len(line[i]) for line in shown) for i in range(len(shown[0]))]
        text += f"\n{title}\n"
        for line, cells in zip([None, *lines], shown, strict=True):
            text += (
                "  " + "  ".join(c.ljust(w) for c, w in zip(cells, widths, strict=True)).rstrip()
            )
            text += f"\n      not alike: {line[-1]}\n" if last and line and line[-1] else "\n"
    return text


def as_markdown(groups: list[Group], comparisons: list[Comparison]) -> str:
    """Tables for a page of Markdown."""
    text = ""
    for title, names, lines in _tables(groups, comparisons):
        text += f"\n## {title}\n\n| {' | '.join(names)} |\n|{'---|' * len(names)}\n"
        for line in lines:
            text += f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n"
    return text


def as_json(groups: list[Group], comparisons: list[Comparison]) -> str:
    """All that is known: groups in the form that is read, too, and comparisons."""
    found = {
        "groups": [_known(group) for group in groups],
        "comparisons": [
            {
                "of": comparison.of.name,
                "to": _known(comparison.to),
                **{
                    name: getattr(comparison, name)
                    for name in ("difference", "interval", "marks", "verdict", "why")
                },
            }
            for comparison in comparisons
        ],
    }
    return json.dumps(found, indent=2) + "\n"


def _known(group):
    return {name: value for name, value in dataclasses.asdict(group).items() if value is not None}


def as_html(groups: list[Group], comparisons: list[Comparison]) -> str:
    """One page that needs no other file."""
    body = ""
    for title, names, lines in _tables(groups, comparisons):
        heads = "".join(f"<th>{html.escape(name)}</th>" for name in names)
        body += f'<h2>{title}</h2><div class="wide"><table><tr>{heads}</tr>'
        for line in lines:
            cells = ""
            for name, cell in zip(names, line, strict=True):
                kind = cell.split()[0] if name == "verdict" else ""
                kind = {"at": "reproduced", "worse": "not"}.get(kind, kind)
                kind = f' class="{kind}"' if kind in ("reproduced", "not") else ""
                text = html.escape(cell)
                cells += (
                    f"<td{kind}>{f'<small>{text}</small>' if name == 'not alike' else text}</td>"
                )
            body += f"<tr>{cells}</tr>"
        body += "</table></div>"
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    return (
        f'<!doctype html><html lang="en"><head>{head}<title>Runs compared</title>'
        f"<style>{_STYLE}</style></head><body><h1>Runs compared</h1>{body}</body></html>\n"
    )


FORMATS = {"table": as_table, "markdown": as_markdown, "json": as_json, "html": as_html}
