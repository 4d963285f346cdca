"""The table of results, and that of configurations with what differs marked."""

import json
import re

from bot_jax.config import flatten
from bot_jax.progress import format_duration
from bot_jax.report.markup import Markup, element, join, rows_table, shorten
from bot_jax.report.runs import Run, is_number
from bot_jax.workdir import TRAIN_CLEAN

# Up to so many runs are columns, which fits a telephone; more are rows.
_COLUMNS = 4
_MISSING = "–"
# What every run has of its own, and so is no difference between recipes.
_OF_EACH_RUN = {"name", "seed"}


def result_facts(run: Run) -> dict[str, str]:
    """What is known of a run, by the words of the table; empty where it is not.

    Of a run without result it is its newest evaluation.
    """
    result, config = run.result or {}, run.config
    newest = run.evaluations[-1] if run.evaluations else {}
    clean = [line for line in run.metrics if line["split"] == TRAIN_CLEAN]
    last = run.metrics[-1] if run.metrics else {}
    measured = result or newest

    def known(name):
        return result.get(name, config.get(name))

    return {
        "configuration": result.get("config_name") or config.get("name") or "",
        "state": _state(run),
        "top-1 (%)": _text(measured.get("top1"), ".2f"),
        "top-5 (%)": _text(measured.get("top5"), ".2f"),
        "loss (nats)": _text(measured.get("loss"), ".4f"),
        "clean training top-1 (%)": _text(
            result.get("train_clean_top1", clean[-1].get("top1") if clean else None), ".2f"
        ),
        "evaluated on": _evaluated_on(measured),
        "epochs": _text(result.get("epochs", last.get("epoch")), ".4g"),
        "steps": _text(result.get("step", last.get("step")), ",.0f"),
        "training time": format_duration(run.training_seconds) if run.training_seconds else "",
        "images/s": _text(result.get("images_per_second"), ",.0f"),
        "seed": _text(known("seed"), "d"),
        "parameters": _text(result.get("parameters"), ",.0f"),
        "MACs": _text(result.get("macs"), ",.0f"),
        "devices": str(result.get("devices", "")),
        "code": re.sub(r"^([0-9a-f]{10})[0-9a-f]+", r"\1", str(result.get("git_commit", ""))),
    }


def _text(value, form):
    if is_number(value):
        return format(int(value) if form == "d" else value, form)
    return "" if value is None else shorten(value)


def _evaluated_on(measured):
    if "num_examples" not in measured:
        return ""
    return f"{_text(measured['num_examples'], ',.0f')} of {measured.get('split', '?')}"


def _state(run: Run) -> str:
    if run.result is None:
        epochs = [line["epoch"] for line in run.metrics if is_number(line["epoch"])]
        whole = run.config.get("epochs")
        of_all = f" of {whole:g}" if is_number(whole) else ""
        evaluated = run.evaluations
        newest = f", evaluated at epoch {evaluated[-1]['epoch']:.4g}" if evaluated else ""
        return f"not finished: epoch {max(epochs, default=0):.4g}{of_all}{newest}"
    if run.result.get("stopped_early"):
        return f"stopped early, the weights of step {_text(run.result.get('best_step'), ',.0f')}"
    return "finished"


def result_table(runs: list[Run]) -> Markup:
    """The results of all runs; what is known of none is left out."""
    facts = [result_facts(run) for run in runs]
    names = [name for name in facts[0] if any(own[name] for own in facts)]
    cells = [[own[name] or _MISSING for name in names] for own in facts]
    labels = [run_label(i, run) for i, run in enumerate(runs)]
    if len(runs) <= _COLUMNS:
        rows = [[name, *column] for name, *column in zip(names, *cells, strict=True)]
        return rows_table(["", *labels], rows, class_="facts")
    rows = [[label, *row] for label, row in zip(labels, cells, strict=True)]
    return rows_table(["run", *names], rows, class_="facts")


def run_label(i: int, run: Run) -> Markup:
    """The name of a run and the colour of its curves."""
    swatch = element("span", class_=f"swatch run-{i}")
    return element("span", swatch, shorten(run.name, 40), class_="label", title=run.directory)


def config_table(runs: list[Run]) -> Markup:
    """Every field of the configurations, first those that differ, which are marked."""
    with_config = [(i, run) for i, run in enumerate(runs) if run.config]
    if not with_config:
        return element("p", "No run has a configuration that can be read.", class_="missing")
    configs = [shown_fields(run.config) for _, run in with_config]
    fields = sorted({field for own in configs for field in own})
    # A group that is empty in one run and has fields in another one: those say it.
    groups = {field.rpartition(".")[0] for field in fields} - {f for f in fields if _is_switch(f)}
    fields = [field for field in fields if field not in groups]
    labels = ["field", *(run_label(i, run) for i, run in with_config)]
    differs = {f: len({json.dumps(own.get(f, _MISSING)) for own in configs}) > 1 for f in fields}

    def table(names):
        rows = [[field, *(show_value(field, own) for own in configs)] for field in names]
        marks = ["differs" if differs[field] else None for field in names]
        return rows_table(labels, rows, row_class=lambda i: marks[i], class_="config")

    summary = element("summary", f"All {len(fields)} fields")
    whole = element("details", summary, table(fields), open=len(runs) == 1 or None)
    if len(with_config) == 1:
        return whole
    different = [field for field in fields if differs[field]]
    if not set(different) - _OF_EACH_RUN:
        only = f"differ in {' and '.join(different)} only" if different else "are the same"
        return join([element("p", f"The configurations {only}."), whole])
    return join([table(different), whole])


def shown_fields(config: dict) -> dict:
    """The fields of a configuration, with a field of its own for every augmentation: "on"."""
    augment = config.get("augment")
    switches = {f"augment.{name}": "on" for name in augment} if isinstance(augment, dict) else {}
    return flatten(config) | switches


def _is_switch(field):
    return field.startswith("augment.") and field.count(".") == 1


def show_value(field: str, fields: dict) -> str:
    """The value of one of `shown_fields`, as the table has it.

    A group without fields is "none". What is not there is "off" for an augmentation, "default" for
    an option of one that is on, and else a dash.
    """
    if field not in fields:
        if _is_switch(field):
            return "off"
        group = field.rpartition(".")[0]
        return "default" if _is_switch(group) and group in fields else _MISSING
    value = fields[field]
    if value == {}:
        return "none"
    if isinstance(value, list | tuple):
        return shorten(", ".join(map(str, value)), 200)
    return shorten(value, 200) if value != "" else '""'
