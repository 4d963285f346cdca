"""Table 2: the baseline, at a batch of 256 in float32, of three networks.

    python -m bot_jax.main --config configs/table2.py:resnet50 --workdir runs/resnet50

ResNet-50 is the network of He et al. (1512.03385), variant A. paper.py says what the paper leaves
open.
"""

from bot_jax.recipes import Row
from bot_jax.reference_results import paper_result
from configs.paper import recipe

ROWS = {
    "resnet50": Row(
        recipe("resnet50_a"),
        paper_result("T2", "ResNet-50", "baseline bs256 fp32"),
    ),
    "inception_v3": Row(
        recipe("inception_v3"),
        paper_result("T2", "Inception-V3", "baseline"),
    ),
    "mobilenet": Row(
        recipe("mobilenet_100"),
        paper_result("T2", "MobileNet", "baseline"),
    ),
}


def get_config(row):
    return ROWS[row].make()
