"""Directories as runs leave them, and pages opened in a browser."""

import html.parser
import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from bot_jax import workdir

CONFIG = {
    "augment": {"color_jitter": {"strength": 0.4}, "mixup": {}},
    "batch_size": 8,
    "data": {"eval_split": "validation", "source": "digits", "crop_area": [0.6, 1.0]},
    "epochs": 4.0,
    "name": "quickstart",
    "optimizer": {"layer_rates": {}, "momentum": 0.9},
    "seed": 0,
}
RESULT = {
    "top1": 75.0,
    "top5": 99.0,
    "loss": 0.51234,
    "num_examples": 4,
    "split": "validation",
    "step": 40,
    "epochs": 4.0,
    "stopped_early": False,
    "images_per_second": 100.0,
    "train_clean_top1": 80.0,
    "parameters": 123456,
    "macs": 7890,
    "config_name": "quickstart",
    "seed": 0,
    "devices": "1 x cpu",
    "git_commit": "0123456789abcdef+changes",
}
NAMES = ("cat", "dog", "cow")


def metrics(epochs=4, losses=None):
    """The lines of a run of ten steps an epoch."""
    lines = []
    for epoch in range(1, epochs + 1):
        at = {"step": 10 * epoch, "epoch": float(epoch)}
        loss = losses[epoch - 1] if losses else 2.0 / epoch
        rate = 0.1 * (1 - epoch / 4)
        lines.append(
            at | {"split": "train", "loss": loss, "top1": 15.0 * epoch, "learning_rate": rate}
        )
        lines.append(at | {"split": "train_clean", "top1": 20.0 * epoch, "loss": 1.0 / epoch})
        lines.append(
            at
            | {"split": "validation", "top1": 18.75 * epoch, "loss": 1.5 / epoch, "num_examples": 4}
        )
    return lines


def write_run(directory, *, config=CONFIG, lines=None, result=RESULT, names=NAMES, classes=None):
    """Writes what a run leaves; None leaves a file out. `classes`: pairs of true and predicted."""
    directory.mkdir(parents=True, exist_ok=True)
    lines = metrics() if lines is None else lines
    if config is not None:
        (directory / "config.json").write_text(json.dumps(config))
    if lines:
        (directory / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if result is not None:
        (directory / "result.json").write_text(json.dumps(result))
    workdir.write_class_names(directory, names)
    if classes is not None:
        workdir.write_confusion(directory, "validation", names, np.array(classes))
    return directory


class _Text(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.texts, self.open, self.addresses = [], [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.open.append(tag)
        self.addresses += [
            value for name, value in attributes if name in ("src", "href", "srcset", "data")
        ]
        assert not [name for name, _ in attributes if name.startswith("on")]

    def handle_data(self, data):
        self.texts.append(data)


def parse(page):
    """The page as Python's parser sees it: `tags`, `texts` and `addresses`."""
    parser = _Text()
    parser.feed(page)
    parser.close()
    return parser


def table_of(page, number=0):
    """The cells of a table of the page, line by line, as texts."""
    table = re.findall(r"<table.*?</table>", page, re.S)[number]
    return [
        [
            html.unescape(re.sub(r"<[^>]*>", "", cell))
            for cell in re.findall(r"<t[hd].*?</t[hd]>", line, re.S)
        ]
        for line in re.findall(r"<tr.*?</tr>", table, re.S)
    ]


def open_in_browser(file, folder, *flags):
    """What Chromium has of a page after its script ran, and what it wrote to the console.

    Skips the test where there is no Chromium.
    """
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    if browser is None:
        pytest.skip("no Chromium: install the package chromium")
    done = subprocess.run(
        [
            browser,
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
            "--enable-logging=stderr",
            *("--virtual-time-budget=2000", "--dump-dom", f"--user-data-dir={folder / 'browser'}"),
            *(*flags, file.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return done.stdout, console
