r"""Table 3: efficient training, at a batch of 1,024 in float16, and the baseline beside it.

    python -m bot_jax.main --config configs/table3.py:resnet50_efficient \
        --workdir runs/resnet50_efficient

"Efficient" is linear scaling, warmup, zero gamma (in residual networks), no bias decay and float16;
the rate still falls in steps. The baselines are those of table 2.
"""

from bot_jax.recipes import Row
from bot_jax.reference_results import paper_result
from configs import table2
from configs.paper import efficient, recipe

ROWS = {
    "resnet50_efficient": Row(
        recipe("resnet50_a", efficient),
        paper_result("T3", "ResNet-50", "efficient bs1024 fp16 (4.4 vs 13.3 min/epoch)"),
    ),
    "resnet50_baseline": table2.ROWS["resnet50"],
    "inception_v3_efficient": Row(
        recipe("inception_v3", efficient),
        paper_result("T3", "Inception-V3", "efficient (8 vs 19.8 min)"),
    ),
    "inception_v3_baseline": table2.ROWS["inception_v3"],
    "mobilenet_efficient": Row(
        recipe("mobilenet_100", efficient),
        paper_result("T3", "MobileNet", "efficient (3.7 vs 6.2 min)"),
    ),
    "mobilenet_baseline": table2.ROWS["mobilenet"],
}


def get_config(row):
    return ROWS[row].make()
