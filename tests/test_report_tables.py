"""The tables: values by hand, and the differences that have to be seen."""

import copy

from report_helpers import CONFIG, RESULT, metrics, parse, table_of, write_run

from bot_jax.report import tables
from bot_jax.report.runs import read_runs


def read(tmp_path, *changes):
    """Runs with the configuration changed."""
    directories = []
    for i, change in enumerate(changes):
        config = copy.deepcopy(CONFIG)
        change(config)
        directories.append(write_run(tmp_path / f"run{i}", config=config))
    return read_runs(directories)


def test_results_by_hand(tmp_path):
    write_run(tmp_path / "a")
    early = RESULT | {"stopped_early": True, "best_step": 1234, "top1": 70.126}
    write_run(tmp_path / "b", result=early)
    write_run(tmp_path / "c", lines=metrics(2), result=None)
    (tmp_path / "a" / "timing.jsonl").write_text(
        '{"step": 40, "split": "train", "images_per_second": 4}\n'  # 320 images
    )
    table = table_of(tables.result_table(read_runs([tmp_path / name for name in "abc"])))
    assert table == [
        ["", "a", "b", "c"],
        ["configuration", "quickstart", "quickstart", "quickstart"],
        [
            "state",
            "finished",
            "stopped early, the weights of step 1,234",
            "not finished: epoch 2 of 4, evaluated at epoch 2",
        ],
        ["top-1 (%)", "75.00", "70.13", "37.50"],
        ["top-5 (%)", "99.00", "99.00", "–"],
        ["loss (nats)", "0.5123", "0.5123", "0.7500"],
        ["clean training top-1 (%)", "80.00", "80.00", "40.00"],
        ["evaluated on", "4 of validation", "4 of validation", "4 of validation"],
        ["epochs", "4", "4", "2"],
        ["steps", "40", "40", "20"],
        ["training time", "1:20", "–", "–"],
        ["images/s", "100", "100", "–"],
        ["seed", "0", "0", "0"],
        ["parameters", "123,456", "123,456", "–"],
        ["MACs", "7,890", "7,890", "–"],
        ["devices", "1 x cpu", "1 x cpu", "–"],
        ["code", "0123456789+changes", "0123456789+changes", "–"],
    ]


def test_many_runs_are_rows(tmp_path):
    runs = read_runs([write_run(tmp_path / str(i)) for i in range(5)])
    table = table_of(tables.result_table(runs))
    assert [line[0] for line in table] == ["run", "0", "1", "2", "3", "4"]
    assert table[0][3:5] == ["top-1 (%)", "top-5 (%)"]
    assert table[1][3:5] == ["75.00", "99.00"]


def test_values_that_are_no_numbers_are_shown_as_they_are(tmp_path):
    result = RESULT | {"top1": "<b>much</b>", "loss": float("nan"), "parameters": [1]}
    page = tables.result_table(read_runs([write_run(tmp_path / "a", result=result)]))
    assert "b" not in parse(page).tags
    assert ["top-1 (%)", "<b>much</b>"] in table_of(page)
    assert ["loss (nats)", "nan"] in table_of(page)


def test_differences_come_first_and_are_marked(tmp_path):
    def other(config):
        config["optimizer"] = {"layer_rates": {"stage1": 0.1}, "momentum": 0.8}
        config["augment"] = {"mixup": {"alpha": 0.3}, "cutout": {}}
        config["seed"] = 3

    page = tables.config_table(read(tmp_path, lambda config: None, other))
    assert table_of(page)[1:] == [
        ["augment.color_jitter", "on", "off"],
        ["augment.color_jitter.strength", "0.4", "–"],
        ["augment.cutout", "off", "on"],
        ["augment.mixup.alpha", "default", "0.3"],
        ["optimizer.layer_rates.stage1", "–", "0.1"],
        ["optimizer.momentum", "0.9", "0.8"],
        ["seed", "0", "3"],
    ]
    whole = table_of(page, 1)
    assert ["augment.mixup", "on", "on"] in whole
    assert ["data.crop_area", "0.6, 1.0", "0.6, 1.0"] in whole
    assert page.count('<tr class="differs">') == 2 * 7  # in both tables, and nothing else


def test_all_augmentation_against_none(tmp_path):
    """A group without fields against one with some."""

    def without(config):
        config["augment"] = {}

    table = table_of(tables.config_table(read(tmp_path, lambda config: None, without)))
    assert ["augment.mixup", "on", "off"] in table
    assert ["augment.color_jitter", "on", "off"] in table


def test_long_values_that_differ_in_the_middle_differ(tmp_path):
    def path(letter):
        def change(config):
            config["data"]["path"] = "x" * 300 + letter + "y" * 300

        return change

    page = tables.config_table(read(tmp_path, path("a"), path("b")))
    assert [line[0] for line in table_of(page)] == ["field", "data.path"]


def test_seeds_of_one_recipe_do_not_differ(tmp_path):
    page = tables.config_table(read(tmp_path, lambda c: None, lambda c: c.update(seed=1)))
    assert "The configurations differ in seed only." in page
    assert len(table_of(page)) == 1 + 12


def test_twice_the_same_recipe(tmp_path):
    page = tables.config_table(read(tmp_path, lambda c: None, lambda c: None))
    assert "The configurations are the same." in page
    assert "differs" not in page


def test_a_run_without_configuration_is_left_out(tmp_path):
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", config=None)
    page = tables.config_table(read_runs([tmp_path / "a", tmp_path / "b"]))
    assert table_of(page)[0] == ["field", "a"]
    assert "No run has a configuration" in tables.config_table(read_runs([tmp_path / "b"]))
