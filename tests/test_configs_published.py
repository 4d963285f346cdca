"""The accuracies that were published for the rows, typed from the paper and from GluonCV.

Tables 2 to 7 of arXiv 1812.01187 and table 6 of its CVPR version; GluonCV's tables of its model
zoo.
"""

from pathlib import Path

import pytest

from bot_jax.config import load_module

CONFIGS = Path(__file__).resolve().parents[1] / "configs"

# Top-1 and top-5 of tables 2 to 5 and 7, and of table 6 in the arXiv version.
PAPER_ACCURACY = """
table2:resnet50                      75.87 92.70
table2:inception_v3                  77.32 93.43
table2:mobilenet                     69.03 88.71
table3:resnet50_efficient            76.21 92.97
table3:resnet50_baseline             75.87 92.70
table3:inception_v3_efficient        77.50 93.60
table3:inception_v3_baseline         77.32 93.43
table3:mobilenet_efficient           71.90 90.47
table3:mobilenet_baseline            69.03 88.71
table4:bs256_linear_scaling          75.87 92.70
table4:bs256_warmup                  76.03 92.81
table4:bs256_zero_gamma              76.19 93.03
table4:bs256_no_bias_decay           76.16 92.97
table4:bs256_fp16                    76.15 93.09
table4:bs1024_linear_scaling         75.17 92.54
table4:bs1024_warmup                 75.93 92.84
table4:bs1024_zero_gamma             76.37 92.96
table4:bs1024_no_bias_decay          76.03 92.86
table4:bs1024_fp16                   76.21 92.97
table5:resnet50_a                    76.21 92.97
table5:resnet50_b                    76.66 93.28
table5:resnet50_c                    76.87 93.48
table5:resnet50_d                    77.16 93.52
table6:resnet50_d_efficient          77.16 93.52
table6:resnet50_d_cosine             77.91 93.81
table6:resnet50_d_label_smoothing    78.31 94.09
table6:resnet50_d_distill            78.67 94.36
table6:resnet50_d_mixup              79.15 94.58
table6:resnet50_d_distill_mixup      79.29 94.63
table6:inception_v3_efficient        77.50 93.60
table6:inception_v3_cosine           78.19 94.06
table6:inception_v3_label_smoothing  78.40 94.13
table6:inception_v3_distill          78.26 94.01
table6:inception_v3_mixup            78.77 94.39
table6:inception_v3_distill_mixup    78.34 94.16
table6:mobilenet_efficient           71.90 90.53
table6:mobilenet_cosine              72.83 91.00
table6:mobilenet_label_smoothing     72.93 91.14
table6:mobilenet_distill             71.97 90.89
table6:mobilenet_mixup               73.28 91.30
table6:mobilenet_distill_mixup       72.51 91.02
table7:places365_efficient           56.34 86.87
table7:places365_best                56.70 87.33
"""

# Table 6 in the CVPR version: mean and standard deviation of four runs, top-1 and top-5.
PAPER_MEANS = """
table6:resnet50_d_efficient          77.26 0.07 93.53 0.05
table6:resnet50_d_cosine             77.73 0.13 93.82 0.08
table6:resnet50_d_label_smoothing    78.37 0.09 94.10 0.03
table6:resnet50_d_distill            78.63 0.04 94.38 0.03
table6:resnet50_d_mixup              79.01 0.09 94.57 0.02
table6:resnet50_d_distill_mixup      79.33 0.07 94.66 0.03
"""

GLUONCV_ACCURACY = """
gluoncv:resnet18_v1                  70.93 89.92
gluoncv:resnet34_v1                  74.37 91.87
gluoncv:resnet50_v1                  77.36 93.57
gluoncv:resnet101_v1                 78.34 94.01
gluoncv:resnet152_v1                 79.22 94.64
gluoncv:resnet18_v1b                 70.94 89.83
gluoncv:resnet34_v1b                 74.65 92.08
gluoncv:resnet50_v1b                 77.67 93.82
gluoncv:resnet101_v1b                79.20 94.61
gluoncv:resnet152_v1b                79.69 94.74
gluoncv:resnet50_v1c                 78.03 94.09
gluoncv:resnet101_v1c                79.60 94.75
gluoncv:resnet152_v1c                80.01 94.96
gluoncv:resnet50_v1d                 78.48 94.20
gluoncv:resnet50_v1d_mixup           79.15 94.58
gluoncv:resnet101_v1d                79.78 94.80
gluoncv:resnet101_v1d_mixup          80.51 95.12
gluoncv:resnet152_v1d                80.26 95.00
gluoncv:resnet152_v1d_mixup          80.61 95.34
gluoncv:mobilenet1.0                 72.93 91.14
gluoncv:mobilenet1.0_mixup           73.28 91.30
gluoncv:mobilenet0.75                70.25 89.49
gluoncv:mobilenet0.5                 65.20 86.34
gluoncv:mobilenet0.25                52.91 76.94
gluoncv:inceptionv3                  78.41 94.13
gluoncv:inceptionv3_mixup            78.77 94.39
table6:resnet50_d_label_smoothing    78.48 94.20
table6:resnet50_d_mixup              79.15 94.58
table6:inception_v3_label_smoothing  78.41 94.13
table6:inception_v3_mixup            78.77 94.39
table6:mobilenet_label_smoothing     72.93 91.14
table6:mobilenet_mixup               73.28 91.30
table6:teacher_resnet152_d           80.26 95.00
table6:teacher_resnet152_d_mixup     80.61 95.34
"""


def numbers(text):
    lines = [line.split() for line in text.splitlines() if line]
    return {line[0]: tuple(map(float, line[1:])) for line in lines}


ROWS = {
    f"{file.stem}:{name}": row
    for file in [*sorted(CONFIGS.glob("table*.py")), CONFIGS / "gluoncv.py"]
    for name, row in load_module(file).ROWS.items()
}


def test_every_accuracy_belongs_to_a_row():
    published = numbers(PAPER_ACCURACY) | numbers(PAPER_MEANS) | numbers(GLUONCV_ACCURACY)
    assert published.keys() == ROWS.keys()


@pytest.mark.parametrize("row", ROWS)
def test_published_accuracy(row):
    known = ROWS[row]
    single, mean = known.paper, known.paper_mean
    expected = numbers(PAPER_ACCURACY).get(row)
    assert (single and (single.top1, single.top5)) == expected
    expected = numbers(PAPER_MEANS).get(row)
    assert (mean and (mean.top1, mean.spread[0], mean.top5, mean.spread[1])) == expected
    expected = numbers(GLUONCV_ACCURACY).get(row)
    assert (known.gluoncv and (known.gluoncv.top1, known.gluoncv.top5)) == expected
    if single and single.epochs:  # table 7 has none
        assert known.make().epochs == float(single.epochs)
