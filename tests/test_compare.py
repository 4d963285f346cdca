import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from bot_jax.compare import __main__ as command
from bot_jax.compare import groups as groups_module
from bot_jax.compare import published, workdirs
from bot_jax.compare.formats import FORMATS
from bot_jax.compare.group import Group
from bot_jax.compare.pairs import comparisons, distance
from bot_jax.compare.verdict import compare, interval, marks
from bot_jax.config import load_config, to_json
from bot_jax.errors import InputError
from bot_jax.reference_results import published_results

ROOT = Path(__file__).resolve().parents[1]
# As a recipe of table 6 on ImageNet would leave it; the paper has 78.37 for it.
RUN = {
    "framework": "somebody",
    "model": "resnet50_d",
    "recipe": "table6:resnet50_d_label_smoothing",
    "data": "imagenet2012/validation",
    "examples": 50_000,
    "epochs": 120,
    "image_size": 224,
    "crop": 0.875,
    "label_smoothing": 0.1,
    "top1": [78.4, 78.3, 78.45],
}


def read_groups(paths, data=None):
    found = groups_module.read_groups(paths, data)
    assert not found.notes
    return found.groups


def write(path, *entries):
    path.write_text(json.dumps(list(entries)))
    return path


def run(capsys, *arguments):
    code = command.main([str(argument) for argument in arguments])
    output = capsys.readouterr()
    return code, output.out + output.err


@pytest.mark.parametrize(
    ("top1", "verdict", "why"),
    [
        ([78.4, 78.38, 78.42], "reproduced", ""),
        ([79.4, 79.3, 79.45], "reproduced", "better"),
        ([76.9, 77.0, 76.95], "not reproduced", ""),
        ([77.0, 78.9, 78.0], "cannot tell", "the interval is too wide"),
        ([78.4], "cannot tell", "one run has no spread"),
    ],
)
def test_verdicts_on_a_row_of_the_paper(tmp_path, capsys, top1, verdict, why):
    file = write(tmp_path / "a.json", RUN | {"top1": top1})
    code, text = run(capsys, file, "--with", "paper", "--format", "json")
    assert code == 0
    found = json.loads(text)["comparisons"]
    first = found[0]
    assert first["to"]["top1"] in ([78.37], [78.28])  # of the arXiv version, or the mean of CVPR's
    assert "another recipe" not in first["marks"]
    assert {line["verdict"] for line in found if "another recipe" not in line["marks"]} == {verdict}
    assert first["why"] == why


def test_the_interval_is_that_of_welch():
    from scipy import stats

    a, b = [52.1, 53.0, 52.4, 51.9], [50.0, 51.5, 50.2]
    expected = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    assert interval(a, b) == pytest.approx((expected.low, expected.high))


def test_a_published_mean_with_its_spread():
    low, high = interval([78.0, 78.4], [78.2], their_spread=0.1, their_runs=4)
    s = np.std([78.0, 78.4], ddof=1) ** 2 / 2, 0.1**2 / 4
    freedom = sum(s) ** 2 / (s[0] ** 2 / 1 + s[1] ** 2 / 3)
    from scipy import stats

    assert high - low == pytest.approx(2 * stats.t.ppf(0.975, freedom) * math.sqrt(sum(s)))


def test_a_single_number_is_taken_to_spread_as_ours():
    """Our three runs and one of theirs, of the same truth: called different in one case of 20."""
    rng, wrong = np.random.default_rng(0), 0
    for _ in range(2000):
        low, high = interval(list(rng.normal(77, 0.3, 3)), [rng.normal(77, 0.3)])
        wrong += not low <= 0 <= high
    assert 0.03 <= wrong / 2000 <= 0.07


@pytest.mark.parametrize(
    ("change", "mark"),
    [
        ({"epochs": 90}, "epochs 120 / 90"),
        ({"crop": 0.95}, "crop 0.875 / 0.95"),
        ({"image_size": 288}, "pixels 224 / 288"),
        ({"interpolation": "bicubic"}, "interpolation bilinear / bicubic"),
        ({"interpolation": None}, "interpolation bilinear / ?"),
        ({"examples": 10_000}, "examples 50000 / 10000"),
        ({"model": "resnet50_b"}, "model resnet50_d / resnet50_b"),
        ({"label_smoothing": 0.0}, "label smoothing 0.1 / 0"),
        ({"label_smoothing": None}, "label smoothing 0.1 / ?"),
        ({"label_smoothing_form": "paper"}, "form of label smoothing uniform / paper"),
        ({"data": "real/validation"}, "data imagenet/validation / real/validation"),
    ],
)
def test_what_is_not_alike_is_marked(change, mark):
    facts = {
        "framework": "bot_jax",
        "model": "resnet50_d",
        "data": "imagenet/validation",
        "examples": 50_000,
        "epochs": 120,
        "image_size": 224,
        "crop": 0.875,
        "interpolation": "bilinear",
        "label_smoothing": 0.1,
        "label_smoothing_form": "uniform",
        "top1": (77.0, 77.1, 77.05),
    }
    one = Group(**facts)
    assert marks(one, Group(**facts)) == ()
    assert mark in marks(one, Group(**facts | change))
    assert len(marks(one, Group(**facts | change))) == 1
    undecided = compare(one, Group(**facts | change), 0.3).verdict == "cannot tell"
    assert undecided == ("data" in change or "examples" in change)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"framework": "paper-1812.01187", "source": "arXiv 1812.01187 T5"}, (0.0, None)),
        ({"model": "ResNet-50-D", "recipe": "+cosine"}, (0.0, None)),
        ({"model": "MobileNet", "recipe": "+label smoothing"}, (0.1, None)),
        ({"model": "ResNet-50-D", "recipe": "+distill w/ mixup"}, (0.1, None)),
        ({"recipe": "Places365 best"}, (None, None)),
        ({"framework": "PaddleClas", "model": "ResNet50", "epochs": "120"}, (0.0, None)),
        ({"framework": "PaddleClas", "model": "ResNet50_vd", "epochs": "200"}, (0.1, "uniform")),
        ({"framework": "PaddleClas", "model": "ResNet50_vc"}, (None, None)),
        ({"framework": "PaddleClas", "recipe": "ablation: no LS"}, (0.0, None)),
        ({"framework": "PaddleClas", "recipe": "ablation: LS0.1"}, (0.1, "uniform")),
        ({"framework": "GluonCV", "model": "ResNet50_v1d"}, (0.1, "uniform")),
        ({"framework": "GluonCV", "model": "ResNet50_v1b"}, (0.0, None)),
        ({"framework": "GluonCV", "model": "MobileNet0.5"}, (None, None)),
        ({"framework": "torchvision", "model": "resnet18"}, (0.0, None)),
    ],
)
def test_label_smoothing_of_published_lines(columns, expected):
    lines = [
        line
        for line in published_results()
        if all(getattr(line, name) == value for name, value in columns.items())
    ]
    assert lines
    assert {published.label_smoothing(line) for line in lines} == {expected}


@pytest.mark.parametrize(
    ("framework", "model", "ours"),
    [
        ("paper-1812.01187", "ResNet-50-D", "resnet50_d"),
        ("paper-1812.01187", "ResNet-50", "resnet50_a"),
        ("GluonCV", "ResNet101_v1b", "resnet101_b"),
        ("GluonCV", "ResNet50_v1", "resnet50_a"),
        ("GluonCV", "ResNet50_v2", None),
        ("GluonCV", "MobileNet0.5", "mobilenet_050"),
        ("PaddleClas", "ResNet50_vd", "resnet50_d"),
        ("PaddleClas", "ResNet50", "resnet50_b"),
        ("PaddleClas", "MobileNetV1_x0_25", "mobilenet_025"),
        ("PaddleClas", "MobileNetV1", "mobilenet_100"),
        ("PaddleClas", "MobileNetV2", None),
        ("timm", "resnet152d.ra2_in1k", "resnet152_d"),
        ("timm", "resnet50s.gluon_in1k", None),
        ("torchvision", "resnet34", "resnet34_b"),
        ("torchvision", "wide_resnet50_2", None),
        ("GluonCV", "InceptionV3", "inception_v3"),
    ],
)
def test_whose_model_is_ours(framework, model, ours):
    lines = [x for x in published_results() if (x.framework, x.model) == (framework, model)]
    assert lines
    assert published.our_name(lines[0]) == ours


def make_run(
    directory, seed, top1, data="digits validation", examples=360, fingerprint=None, **changes
):
    from bot_jax.config import to_json
    from configs import quickstart

    config = quickstart.get_config()
    config.name, config.seed = "quickstart", seed
    for name, value in changes.items():
        if name.startswith("data_"):
            config.data[name.removeprefix("data_")] = value
        else:
            setattr(config, name, value)
    directory.mkdir(parents=True)
    if fingerprint:
        (directory / "data.json").write_text(json.dumps(fingerprint))
    (directory / "config.json").write_text(to_json(config))
    result = {"top1": top1, "top5": 100.0, "num_examples": examples, "epochs": 12.0, "data": data}
    (directory / "result.json").write_text(json.dumps(result))


@pytest.fixture
def ladder(tmp_path):
    """Two rows with three seeds and two."""
    for seed, top1 in enumerate((98.0, 98.5, 98.1)):
        make_run(tmp_path / f"ladder/one/seed{seed}", seed, top1)
    for seed, top1 in enumerate((90.0, 90.4)):
        make_run(tmp_path / f"ladder/two/seed{seed}", seed, top1, batch_size=32)
    return tmp_path / "ladder"


def test_seeds_are_a_group_and_other_configurations_are_not(ladder):
    one, two = read_groups([ladder])
    assert (one.top1, two.top1) == ((98.0, 98.5, 98.1), (90.0, 90.4))
    assert (one.data, one.examples, one.image_size, one.crop) == ("digits/validation", 360, 24, 1)
    assert (one.epochs, one.label_smoothing, one.label_smoothing_form) == (12.0, 0.1, "uniform")


@pytest.mark.parametrize(
    ("source", "path", "data", "own", "expected"),
    [
        ("tfds", "/tfds", "tfds imagenet2012/5.1.0 validation", None, "imagenet2012/validation"),
        # Own photographs as record files, under the default name.
        ("tfds", "/mine/shoes", "tfds images/1.0.0 validation", None, "shoes/validation"),
        ("tfds", "/mine", "tfds images/1.0.0 validation", "a/b", "a/b"),
        ("tfds", "/t", "tfds imagenet2012_subset/1pct/5.0.0 validation", "a/b", None),
        ("folder", "/mine/shoes", "folder /mine/shoes/validation", None, "shoes/validation"),
        ("folder", "/mine", "folder /mine/validation", "imagenet2012/validation", ...),
        ("digits", "", "digits validation", "imagenet2012/validation", "digits/validation"),
    ],
)
def test_what_the_data_are(tmp_path, source, path, data, own, expected):
    config = {"data_source": source, "data_path": path, "data_tfds_name": "imagenet2012"}
    make_run(tmp_path / "a", 0, 70.0, data=data, **config)
    _, group = workdirs.read_run(tmp_path / "a", groups_module.load, own)
    expected = {None: "imagenet2012_subset/1pct/validation", ...: own}.get(expected, expected)
    assert group.data == expected


def test_own_images_are_not_taken_for_imagenet(tmp_path, capsys):
    """Neither by the name of the data set nor, where that is given, by the number of examples."""
    for seed in range(3):
        options = {"data_source": "tfds", "data_path": "/shoes", "name": "table6:resnet50_d_cosine"}
        make_run(tmp_path / f"{seed}", seed, 99 + seed / 10, "tfds images/1.0.0 val", **options)
    given = [tmp_path, "--with", "paper", "--format", "json"]
    for more in ([], ["--data", "imagenet2012/validation"]):
        text = run(capsys, *given, *more)[1]
        assert {line["verdict"] for line in json.loads(text)["comparisons"]} == {"cannot tell"}


def test_a_run_from_another_place_is_of_the_same_group(tmp_path):
    """The data elsewhere and other checkpoints change no result; another batch does."""
    for seed, (path, batch) in enumerate((("/a/shoes", 64), ("/b/shoes", 64), ("/b/shoes", 32))):
        options = {"data_source": "folder", "data_path": path, "batch_size": batch}
        options |= {"log_every_steps": seed + 1, "fingerprint": {"examples": 1000}}
        make_run(tmp_path / f"{seed}", seed, 90.0, "folder x", **options)
    assert [len(group.top1) for group in read_groups([tmp_path])] == [2, 1]


@pytest.mark.parametrize("data", [None, "imagenet2012/validation"])
@pytest.mark.parametrize(
    "other",
    [{"fingerprint": {"examples": 7}}, {"examples": 359}, {"fingerprint": None}],
    ids=["training data", "number of examples", "nothing known of the data"],
)
def test_runs_on_other_images_are_no_seeds_of_each_other(tmp_path, data, other):
    """Also where the directories have one name, or the user says what they are."""
    common = {"data_source": "folder", "fingerprint": {"examples": 1000}}
    make_run(tmp_path / "a", 0, 70.0, "folder x", data_path="/v1/images", **common)
    make_run(tmp_path / "b", 1, 40.0, "folder x", data_path="/v2/images", **common | other)
    assert [group.top1 for group in read_groups([tmp_path], data)] == [(70.0,), (40.0,)]


def test_fields_that_older_runs_do_not_have_are_as_usual(tmp_path):
    make_run(tmp_path / "a", 0, 90.0)
    make_run(tmp_path / "b", 1, 91.0)
    file = tmp_path / "a/config.json"
    config = json.loads(file.read_text())
    del config["diagnosis_examples"], config["schedule"]["end_factor"]
    file.write_text(json.dumps(config))
    (group,) = read_groups([tmp_path])
    assert group.top1 == (90.0, 91.0)


def test_a_seed_counts_once(tmp_path, capsys):
    make_run(tmp_path / "a", 0, 90.0)
    make_run(tmp_path / "b", 1, 91.0)
    shutil.copytree(tmp_path / "b", tmp_path / "c")
    found = groups_module.read_groups([tmp_path])
    assert [group.top1 for group in found.groups] == [(90.0, 91.0)]
    assert found.groups[0].seed == (0, 1)
    code, text = run(capsys, tmp_path)
    assert (code, f"{tmp_path}/c has seed 1" in text) == (0, True)


def test_what_was_changed_in_a_row_is_said(tmp_path, capsys):
    from bot_jax.config import load_config, to_json

    location = f"{Path(__file__).parents[1]}/configs/table6.py:resnet50_d_cosine"
    for i, overrides in enumerate(([], ["optimizer.weight_decay=5e-5"], ["data.path=/elsewhere"])):
        make_run(tmp_path / f"{i}", i, 77.0, "tfds imagenet2012/5.1.0 validation", 50_000)
        config = load_config(location, [f"seed={i}", *overrides])
        (tmp_path / f"{i}/config.json").write_text(to_json(config))
    found = read_groups([tmp_path / "0", tmp_path / "1", tmp_path / "2"])
    assert [group.changed for group in found] == [(), ("optimizer.weight_decay",), ()]
    text = run(capsys, tmp_path, "--with", "paper")[1]
    assert "table6:resnet50_d_cosine (other optimizer.weight_decay)" in text
    assert "changed in the recipe: optimizer.weight_decay / nothing" in text


def of_a_row(directory, result, **changes):
    """A finished run of table6:resnet50_d_cosine on ImageNet."""
    config = load_config(str(ROOT / "configs" / "table6.py") + ":resnet50_d_cosine", [])
    config.update(changes)
    directory.mkdir(parents=True)
    (directory / "config.json").write_text(to_json(config))
    usual = {"top1": 77.9, "top5": 93.8, "num_examples": 50_000, "epochs": 120.0}
    usual["data"] = "tfds imagenet2012/5.1.0 validation"
    (directory / "result.json").write_text(json.dumps(usual | result))
    return directory


@pytest.mark.parametrize(
    ("changes", "changed", "verdict"),
    [
        ({}, (), "reproduced"),
        ({"diagnosis_examples": 5}, (), "reproduced"),
        ({"epochs": 119.9}, ("epochs",), "at least as good"),
        ({"distillation": {"teacher": "x"}}, ("distillation.teacher",), "at least as good"),
    ],
)
def test_a_changed_row_reproduces_nothing(tmp_path, changes, changed, verdict):
    for seed, top1 in enumerate((77.89, 77.9, 77.91)):
        of_a_row(tmp_path / f"{seed}", {"top1": top1}, seed=seed, **changes)
    found = read_groups([tmp_path])
    assert [group.changed for group in found] == [changed]
    first = comparisons(found, ["paper"], margin=0.3)[0]
    assert first.verdict == verdict


def test_a_single_run_is_taken_to_spread_as_those_beside_it():
    low, high = interval([50.0], [52.1, 53.0, 52.4])
    assert (-high, -low) == pytest.approx(interval([52.1, 53.0, 52.4], [50.0]))


def test_numbers_are_the_same_for_verdicts_and_marks():
    of = Group(**RUN | {"epochs": 119.9, "top1": (78.4, 78.3, 78.45)})
    to = Group(**RUN | {"framework": "another", "top1": (78.4,)})
    assert marks(of, to) == ()
    assert compare(of, to, margin=1).verdict == "reproduced"


@pytest.mark.parametrize(
    "result",
    [
        {"top1": "abc"},
        {"top1": 10**400},
        {"top1": 200},
        {"top1": None},
        {"epochs": "x"},
        {"num_examples": -1},
    ],
)
def test_a_run_whose_numbers_are_none_is_refused(tmp_path, result):
    with pytest.raises(InputError, match=r"no percent|no number above 0"):
        read_groups([of_a_row(tmp_path / "a", result)])


@pytest.mark.parametrize("data", [{"image_size": 0}, {"image_size": "x"}])
def test_a_run_whose_configuration_is_none_is_refused(tmp_path, data):
    directory = of_a_row(tmp_path / "a", {})
    config = json.loads((directory / "config.json").read_text())
    config["data"] |= data
    (directory / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="of the wrong kind"):
        read_groups([directory])


def test_top5_of_some_seeds_only_is_left_out(tmp_path, capsys):
    seeds = [RUN | {"top1": 78 + i / 9, "seed": i} for i in range(3)]
    file = write(tmp_path / "a.json", seeds[0] | {"top5": 94.0}, *seeds[1:])
    code, text = run(capsys, file, "--format", "json")
    assert code == 0
    assert json.loads(text)["groups"][0]["top5"] == []
    again = tmp_path / "b.json"
    again.write_text(text)
    assert read_groups([again]) == read_groups([file])


def test_of_seeds_that_are_there_in_part_the_others_count(tmp_path):
    one = write(tmp_path / "a.json", RUN | {"top1": [1, 2], "seed": [0, 1]})
    other = write(tmp_path / "b.json", RUN | {"top1": [2, 4], "seed": [1, 2]})
    entries = [json.loads(file.read_text())[0] | {"source": "x"} for file in (one, other)]
    found = groups_module.read_groups([write(tmp_path / "c.json", *entries)])
    assert found.groups[0].top1 == (1.0, 2.0, 4.0)
    assert found.groups[0].seed == (0, 1, 2)
    assert "has seed 1 as" in found.notes[0]


def test_a_recipe_named_after_a_file_without_rows_is_no_row(tmp_path):
    file = write(tmp_path / "a.json", RUN | {"recipe": "paper:baseline"})
    assert read_groups([file])[0].recipe == "paper:baseline"
    assert comparisons(read_groups([file]), ["paper"], margin=0.3)


def test_seeds_of_others_are_a_group_where_they_say_so(tmp_path):
    one = RUN | {"top1": 78.4, "seed": 0, "source": "first"}
    file = write(
        tmp_path / "a.json",
        one,
        one | {"top1": 78.3, "seed": 1, "source": "second"},
        one | {"top1": 76.0, "seed": 0, "epochs": 90},
        RUN | {"top1": 70.0},
        RUN | {"top1": 71.0},
    )
    tops = [group.top1 for group in read_groups([file])]
    assert tops == [(78.4, 78.3), (76.0,), (70.0,), (71.0,)]


def groups_of(*changes):
    usual = {"framework": "bot_jax", "model": "resnet50_d", "recipe": "table6:x", "epochs": 120}
    usual |= {"data": "d/v", "examples": 500, "image_size": 224, "crop": 0.875}
    usual["top1"] = (70.0, 70.1, 70.2)
    return [Group(**usual | change) for change in changes]


def test_others_are_aligned_by_model_recipe_epochs_pixels_and_crop():
    (own,) = groups_of({})
    farther = [
        {},
        {"crop": 0.95},
        {"image_size": 288},
        {"epochs": 90},
        {"recipe": "y"},
        {"model": "resnet50_b"},
    ]
    others = groups_of(*farther)
    by_distance = sorted(others[3:] + others[:3], key=lambda other: distance(own, other))
    assert by_distance == others
    near, nearer = groups_of({"epochs": 300}, {"epochs": 150})
    assert (
        distance(own, nearer) < distance(own, near) < distance(own, groups_of({"epochs": None})[0])
    )


def test_each_own_group_is_beside_the_nearest_of_each_other_framework():
    first, second, a, b, c = groups_of(
        {},
        {"recipe": "table6:y", "top1": (80.0, 80.1, 80.2)},
        {"framework": "timm", "recipe": "table6:y", "top1": (80.0, 80.1, 80.3)},
        {"framework": "timm", "top1": (70.0, 70.1, 70.3)},
        {"framework": "keras", "model": "resnet50_b", "recipe": "", "top1": (60.0, 60.1, 60.2)},
    )
    found = comparisons([a, first, b, second, c], [], 1.0)
    assert [(line.of, line.to) for line in found] == [
        (first, b),
        (first, c),
        (second, a),
        (second, c),
        (second, first),
    ]
    verdicts = [line.verdict for line in found]
    assert verdicts == ["reproduced", "at least as good"] * 2 + ["at least as good"]
    assert "recipe not known" in found[1].marks
    assert "another recipe" in found[4].marks
    assert "another recipe" not in found[0].marks


@pytest.mark.parametrize("change", [{"epochs": 1}, {"model": "resnet50_b"}, {"image_size": 128}])
def test_nothing_is_reproduced_by_another_run(change):
    own, other = groups_of({}, {"framework": "paper"} | change)
    assert compare(own, other, 1.0).verdict == "at least as good"
    better, usual = groups_of(
        {"framework": "paper", "top1": (90.0, 90.1)} | change, {"framework": "p"}
    )
    assert compare(own, better, 0.3).verdict == "worse"
    assert compare(own, usual, 1.0).verdict == "reproduced"


def test_what_is_named_twice_counts_once(ladder, tmp_path):
    once = read_groups([ladder])
    assert read_groups([ladder, ladder / "one", ladder / "one/seed0", ladder]) == once
    file = write(tmp_path / "a.json", RUN)
    assert len(read_groups([file, file])) == 1


def test_runs_that_do_not_differ_have_no_spread(tmp_path, capsys):
    file = write(tmp_path / "a.json", RUN | {"top1": [78.4, 78.4]})
    found = json.loads(run(capsys, file, "--with", "paper", "--format", "json")[1])["comparisons"]
    single = [line for line in found if line["to"]["source"].endswith("T6")]
    assert {(line["verdict"], line["why"]) for line in single} == {
        ("cannot tell", "equal runs have no spread")
    }


def test_unknown_data_leave_no_verdict():
    one = Group("x", "resnet50_d", top1=(78.0, 78.1, 78.2))
    assert compare(one, one, 0.3).verdict == "cannot tell"


def test_crop_and_interpolation_of_published_lines():
    lines = [published.as_group(line) for line in published_results()]
    crops = {group.crop for group in lines if group.framework == "torchvision"}
    assert {224 / 256, 224 / 232} <= crops
    found = {group.interpolation for group in lines if group.framework == "timm"}
    assert found == {"bicubic antialiased", "bilinear antialiased"}


@pytest.mark.parametrize("form", FORMATS)
def test_every_format(ladder, tmp_path, capsys, form):
    code, text = run(capsys, ladder, "--format", form)
    assert code == 0
    for word in ("98.20", "90.20", "worse") if form != "json" else ("98.1", "90.4", "worse"):
        assert word in text
    code, text = run(capsys, ladder, "--format", form, "--output", tmp_path / "out")
    assert (code, text) == (0, f"Wrote {tmp_path / 'out'}.\n")


def test_names_from_strangers_are_text_in_html_and_markdown(tmp_path, capsys):
    file = write(tmp_path / "a.json", RUN | {"recipe": "<script>|</script>"})
    page = run(capsys, file, "--format", "html")[1]
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "http" not in page
    assert "<script>\\|</script>" in run(capsys, file, "--format", "markdown")[1]


def test_json_can_be_read_again(tmp_path, capsys):
    file = write(tmp_path / "a.json", RUN)
    (tmp_path / "b.json").write_text(run(capsys, file, "--format", "json")[1])
    assert read_groups([tmp_path / "b.json"]) == read_groups([file])


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"model": "resnet50_d"}, "entry 1 has no top1"),
        ({"top1": 3}, "entry 1 has no model"),
        ({"model": "a", "top1": 101}, "no percent"),
        ({"model": "a", "top1": ["x"]}, "no percent"),
        ({"model": "a", "top1": 1, "epoch": 3}, "no field 'epoch'. Did you mean 'epochs'?"),
        ({"model": "a", "top1": 1, "epochs": "3"}, "epochs = '3' is of the wrong type"),
        ({"model": "a", "top1": True}, "of the wrong type"),
        ({"model": "a", "top1": 1, "epochs": 10**400}, "is no number above 0"),
        ({"model": "a", "top1": 1, "epochs": -5}, "is no number above 0"),
        ({"model": "a", "top1": 1, "image_size": 0}, "is no number above 0"),
        ({"model": "a", "top1": 1, "label_smoothing": 1}, "not from 0 to below 1"),
        ({"model": "a", "top1": float("nan")}, "NaN is no number of a result"),
        ({"model": "a", "top1": [1, 2], "top5": [3]}, "top1 is of 2 runs, top5 of others"),
        ({"model": "a", "top1": [1, 2], "seed": 3}, "top1 is of 2 runs, seed of others"),
        ({"model": "a", "top1": [1, 2], "seed": [3, 3]}, "has one of them twice"),
        ({"model": "a", "top1": [1, 2], "seed": [3, True]}, "is no whole number"),
        ({"model": "a", "top1": 1, "recipe": "x\x1b[2J"}, "cannot be shown"),
        ({"model": "a", "top1": 1, "recipe": "x\ny"}, "cannot be shown"),
        ({"model": "a", "top1": 1, "changed": [3]}, "something that is no name"),
        (3, "no object"),
    ],
)
def test_files_that_are_not_of_the_form(tmp_path, capsys, entry, words):
    code, text = run(capsys, write(tmp_path / "a.json", entry))
    assert code == 2
    assert words in text


@pytest.mark.parametrize("flag", ["--margin=inf", "--margin=-1", "--data=imagenet"])
def test_wrong_flags_are_refused(tmp_path, flag):
    with pytest.raises(SystemExit, match="2"):
        command.main([str(write(tmp_path / "a.json", RUN)), flag])


def test_files_of_a_run(ladder, capsys):
    """Its result stands for it; other evaluations do not say how images were prepared."""
    run_of = ladder / "one/seed0"
    assert read_groups([run_of / "result.json"]) == read_groups([run_of])
    shutil.copy(run_of / "result.json", run_of / "evaluation_test.json")
    code, text = run(capsys, run_of / "evaluation_test.json")
    assert (code, f"Name the run, {run_of}" in text) == (2, True)


def test_data_that_are_of_no_run_are_refused(ladder, capsys):
    code, text = run(capsys, ladder, "--data", "imagenet2012/validation")
    assert (code, "no run here is on somebody's own files" in text) == (2, True)


def test_other_wrong_input(tmp_path, capsys):
    assert run(capsys, tmp_path / "nowhere")[0] == 2
    (tmp_path / "empty").mkdir()
    assert "no run there is finished" in run(capsys, tmp_path / "empty")[1]
    (tmp_path / "broken.json").write_text("{")
    assert "cannot be read" in run(capsys, tmp_path / "broken.json")[1]
    file = write(tmp_path / "a.json", RUN)
    code, text = run(capsys, file, "--with", "keras")
    assert (code, "there are paper, gluoncv" in text) == (2, True)
    assert run(capsys, file, "--output", tmp_path / "no" / "where")[0] == 2


def test_rows_are_found_from_any_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    group = Group("x", "resnet50_d", recipe="table6:resnet50_d_cosine", top1=(1.0,))
    assert any(own for _, own in published.references(group, ["paper"]))


def test_a_recipe_of_a_stranger_names_no_file_elsewhere(tmp_path):
    (tmp_path / "evil.py").write_text("raise SystemExit('run')")
    group = Group("x", "resnet50_d", recipe=f"../../{tmp_path}/evil:row", top1=(1.0,))
    assert all(not own for _, own in published.references(group, ["paper"]))


def test_an_unknown_source():
    with pytest.raises(InputError, match="--with mxnet"):
        published.references(Group("x", "resnet50_d"), ["mxnet"])


def test_the_example_of_the_documentation(tmp_path):
    text = (Path(__file__).parents[1] / "docs/compare.md").read_text()
    (tmp_path / "a.json").write_text(text.split("```json\n")[1].split("```")[0])
    (group,) = read_groups([tmp_path / "a.json"])
    assert (group.model, group.top1) == ("resnet50_d", (79.05, 79.11, 78.98))
