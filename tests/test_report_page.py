"""The whole page: one file, nothing from elsewhere, and the texts of runs stay texts."""

import copy
import html
import json
import re

import pytest
from report_helpers import CONFIG, RESULT, metrics, open_in_browser, parse, table_of, write_run

from bot_jax import train
from bot_jax.report.__main__ import main

HOSTILE = '"><script>alert(1)</script><img src="https://example.com/x.png" onerror="alert(2)">'


@pytest.fixture
def hostile(tmp_path):
    """A run whose every text is an attack, and one that is not finished."""
    config = copy.deepcopy(CONFIG)
    config["name"] = HOSTILE
    config["augment"] = {HOSTILE: {"x": HOSTILE}}
    config[HOSTILE] = [HOSTILE]
    lines = metrics()
    for line in lines:
        line["split"] = HOSTILE if line["split"] == "validation" else line["split"]
    result = RESULT | {"split": HOSTILE, "git_commit": HOSTILE, "devices": HOSTILE}
    # Of a path the slashes are not a part of a name.
    first = tmp_path / HOSTILE.replace("/", "\\")
    write_run(first, config=config, lines=lines, result=result, names=[HOSTILE, "b", "c"])
    second = write_run(tmp_path / "second", lines=metrics(2), result=None)
    with (second / "metrics.jsonl").open("a") as file:
        file.write('{"step": 25, "epo')
    return [str(first), str(second)]


def write(arguments, output):
    assert main([*arguments, "--output", str(output)]) == 0
    return output.read_text("utf-8")


def test_nothing_is_loaded_and_nothing_of_a_run_is_run(hostile, tmp_path):
    page = write(hostile, tmp_path / "report.html")
    parsed = parse(page)  # which refuses handlers of events
    assert parsed.tags.count("script") == 1
    assert all(address.startswith(("#", "data:image/")) for address in parsed.addresses)
    assert "img" not in parsed.tags or "data:image/" in page
    style = page[page.index("<style>") : page.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    assert HOSTILE in "".join(parsed.texts)
    assert 'content="default-src &#x27;none&#x27;; ' in page


def test_in_a_browser_nothing_is_complained_of(hostile, tmp_path):
    output = tmp_path / "a page.html"
    write(hostile, output)
    seen, console = open_in_browser(output, tmp_path)
    assert console == []
    assert seen.count("<svg") >= 3
    assert "alert(1)&lt;/script&gt;" in seen
    assert seen.count("<script>") == 1


@pytest.mark.slow
def test_real_runs_in_a_browser(make_tiny_config, tmp_path):
    """All sections with pictures, in both colour schemes."""
    for name, augment in (("with_mixup", {"mixup": {}}), ("cut", {"cutout": {"length": 4}})):
        config = make_tiny_config()
        config.augment = augment
        train.train(config, tmp_path / name)
    output = tmp_path / "report.html"
    page = write([str(tmp_path / name) for name in ("with_mixup", "cut")], output)
    assert len(page.encode()) < 500_000
    assert page.count('class="missing"') == 0
    for flags in ([], ["--blink-settings=preferredColorScheme=0"]):
        seen, console = open_in_browser(output, tmp_path, *flags)
        assert console == []
        titles = re.findall(r"<h2>(.*?)</h2>", seen)
        assert titles == [
            *("Results", "Curves", "Confusion matrices", "Most confident mistakes"),
            *("Augmentation, step by step", "Configuration"),
        ]
        # Eight images in three rows of each run, and at most twelve mistakes.
        assert 2 * 8 * 3 < seen.count('src="data:image/jpeg') <= 2 * (8 * 3 + 12)
        table = table_of(seen[seen.index('id="configuration"') :])
        assert ["augment.cutout", "off", "on"] in table
        assert ["augment.mixup", "on", "off"] in table


def test_the_browser_would_complain(tmp_path):
    """So that the test above can fail: an error, and a picture that the policy forbids."""
    write_run(tmp_path / "a")
    page = write([str(tmp_path / "a")], tmp_path / "a.html")
    broken = tmp_path / "broken.html"
    broken.write_text(page.replace("<main>", '<main><img src="https://example.com/a.png">'))
    assert any("Content Security Policy" in line for line in open_in_browser(broken, tmp_path)[1])
    broken.write_text(page.replace('data-x="', 'data-z="'))
    assert any("Uncaught" in line for line in open_in_browser(broken, tmp_path)[1])


def test_a_button_hides_a_run_and_the_pointer_reads_values(tmp_path):
    for name in "ab":
        write_run(tmp_path / name)
    page = write([str(tmp_path / name) for name in "ab"], tmp_path / "a.html")
    # The policy forbids any other script, so this is a page without one.
    page = re.sub(r"<meta http-equiv.*?>", "", page)
    actions = """<script>
        document.querySelector('button[data-run="0"]').click();
        const svg = document.querySelectorAll(".panels svg")[1];
        const box = svg.getBoundingClientRect();  // the last epoch is 10 of 380 from the right
        const clientX = box.left + box.width * 370 / 380;
        svg.dispatchEvent(new PointerEvent("pointermove", {clientX, clientY: box.top + 50}));
    </script></body>"""
    file = tmp_path / "b.html"
    file.write_text(page.replace("</body>", actions))
    seen, console = open_in_browser(file, tmp_path)
    assert console == []
    hidden = re.findall(r'class="curve run-(\d) \w+ hidden"', seen)
    assert hidden == ["0"] * 7
    assert '<button type="button" data-run="0" aria-pressed="false">' in seen
    outputs = re.findall(r'<output class="values">(.*?)</output>', seen)
    texts = [re.sub(r"<.*?>", "", output).replace("&nbsp;", " ").split() for output in outputs]
    # Of run b only: top-1 of 60 % in training, 80 % clean, 75 % in the last evaluation.
    values = ["epoch", "4", "train", "60", "train_clean", "80", "validation", "75"]
    assert texts == [[], values, []]


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_sticks_out(hostile, tmp_path, width):
    """In a window as wide as that of a telephone; a browser's own is wider, a frame is not."""
    names = [f"a rather long name of the class {i} {'x' * 100}" for i in range(20)]
    for i in range(2):
        classes = [[i, j] for i in range(20) for j in range(20)]
        write_run(tmp_path / f"{'long' * 20}{i}", names=names, classes=classes)
    runs = [*hostile, *(str(tmp_path / f"{'long' * 20}{i}") for i in range(2))]
    page = re.sub(r"<meta http-equiv.*?>", "", write(runs, tmp_path / "a.html"))
    measure = """<script>
        const out = [...document.querySelectorAll("body *")].filter((e) => !e.closest(".scroll *")
          && e.getBoundingClientRect().right > innerWidth + 1);
        const scrolled = document.documentElement.scrollWidth;
        const found = [innerWidth, scrolled, ...out.map((e) => e.tagName)];
        parent.postMessage(found.join(" "), "*");
    </script></body>"""
    framed = html.escape(page.replace("</body>", measure))
    file = tmp_path / "b.html"
    file.write_text(
        "<script>onmessage = (event) => { document.title = event.data }</script>"
        f'<iframe width="{width}" height="800" frameborder="0" srcdoc="{framed}"></iframe>'
    )
    seen, _ = open_in_browser(file, tmp_path)
    inner, scrolled, *out = re.search("<title>(.*?)</title>", seen)[1].split()
    assert int(inner) == width
    assert int(scrolled) <= width
    assert out == []


def test_what_cannot_be_written_or_read(tmp_path, capsys):
    run = write_run(tmp_path / "a")
    assert main([str(run), "--output", str(tmp_path / "no" / "x.html")]) == 2
    assert "cannot be written" in capsys.readouterr().err
    assert main([str(tmp_path), "--output", str(tmp_path / "x.html")]) == 2
    assert "not the --workdir of a run" in capsys.readouterr().err
    assert not (tmp_path / "x.html").exists()


def test_twenty_long_runs_are_no_large_page(tmp_path):
    config = copy.deepcopy(CONFIG)
    config["model"] = {f"option{i}": "x" * 1000 for i in range(150)}
    line = {"split": "train", "loss": 1.2345678901234567, "top1": 12.345678901234567}
    many = [line | {"step": i, "epoch": i / 7, "learning_rate": i / 3e7} for i in range(20_000)]
    text = "".join(json.dumps(line) + "\n" for line in many)
    for i in range(20):
        run = write_run(tmp_path / f"run{i}", config=config)
        (run / "metrics.jsonl").write_text(text)
    page = write([str(tmp_path / f"run{i}") for i in range(20)], tmp_path / "a.html")
    assert len(page.encode()) < 3e6
