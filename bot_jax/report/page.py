"""The page: sections one after the other, with style and script in it, and nothing from elsewhere.

A policy in its head forbids the browser to load anything or to run any other script than its own,
whatever a name in it should look like.
"""

import base64
import hashlib
from importlib import resources

from bot_jax.errors import InputError
from bot_jax.report import confusion, curves, mistakes, steps, tables
from bot_jax.report.markup import Markup, element, join, shorten
from bot_jax.report.runs import Run

# Characters that all pictures of a kind together may have, so that a page stays below 3 MB.
_MATRIX_BUDGET, _MISTAKES_BUDGET, _STEPS_BUDGET = 400_000, 900_000, 700_000


def make_page(runs: list[Run], *, num_mistakes: int = 12) -> str:
    """The whole page as text.

    Args:
      runs: what it is about.
      num_mistakes: how many to show of each run; 0 evaluates nothing.
    """
    sections = [
        ("results", "Results", [_problems(runs), tables.result_table(runs)]),
        ("curves", "Curves", [curves.panels(runs)]),
        ("confusion", "Confusion matrices", confusion.sections(runs, _MATRIX_BUDGET)),
    ]
    if num_mistakes:
        found = [
            attempt(
                "Evaluating", run, lambda run: mistakes.find_mistakes(run.directory, num_mistakes)
            )
            for run in runs
        ]
        blocks = mistakes.sections(runs, found, _MISTAKES_BUDGET)
        sections.append(("mistakes", "Most confident mistakes", blocks))
    blocks = [element("p", steps.NOTE, class_="note"), *_augmentation(runs)]
    sections.append(("augmentation", "Augmentation, step by step", blocks))
    sections.append(("configuration", "Configuration", [tables.config_table(runs)]))
    title = ", ".join(run.name for run in runs[:3]) + (", …" if len(runs) > 3 else "")
    links = [element("a", words, href=f"#{name}") for name, words, _ in sections]
    body = [
        element("header", element("h1", title), element("nav", links)),
        element("main", [_section(*section) for section in sections]),
    ]
    return _document(title, join(body))


def _augmentation(runs):
    groups = steps.same_images(runs)
    found = [
        attempt("Augmenting images of", runs[group[0]], lambda run: steps.make_steps(run.directory))
        if shown
        else "Left out: a page has no room for more pictures. Name this run alone."
        for group, shown in zip(groups, steps.is_shown(runs, groups), strict=True)
    ]
    return steps.sections(runs, groups, found, _STEPS_BUDGET)


def attempt(what: str, run: Run, function):
    """What a function makes of a run, or why it cannot: the rest of the page is made all the same.

    A run may be of an older version, its code or its data may have changed; of what then fails no
    list is complete.
    """
    print(f"{what} {run.name} ...", flush=True)
    try:
        return function(run)
    except InputError as error:
        return str(error)
    except Exception as error:
        return shorten(f"This failed: {type(error).__name__}: {error}", 500)


def _section(name, title, content):
    return element("section", element("h2", title), content, id=name)


def _problems(runs):
    sentences = [f"{run.name}: {problem}" for run in runs for problem in run.problems]
    return [element("p", sentence, class_="missing") for sentence in sentences]


def _document(title, body):
    folder = resources.files(__package__)
    style = Markup((folder / "report.css").read_text("utf-8"))
    script = Markup((folder / "report.js").read_text("utf-8"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src "
    policy += f"'sha256-{digest}'"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", style),
    )
    page = element("html", head, element("body", body, element("script", script)), lang="en")
    return f"<!doctype html>\n{page}\n"
