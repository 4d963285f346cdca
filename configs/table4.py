"""Table 4: what each heuristic of efficient training brings to ResNet-50, at 256 and at 1,024.

    python -m bot_jax.main --config configs/table4.py:bs1024_warmup --workdir runs/bs1024_warmup

Each row has all that the rows above it at the same batch size have. bs256_linear_scaling is the
baseline, whose rate linear scaling does not change, and bs1024_fp16 is the efficient training.
"""

from bot_jax.recipes import Row
from bot_jax.reference_results import paper_result
from configs.paper import HEURISTICS, batch_1024, recipe

# The name of a row, and what the results call it, in the order of HEURISTICS.
_NAMES = {
    "linear_scaling": "linear scaling",
    "warmup": "+warmup",
    "zero_gamma": "+zero gamma",
    "no_bias_decay": "+no bias decay",
    "fp16": "+fp16",
}

ROWS = {
    f"{batch}_{name}": Row(
        recipe("resnet50_a", *changes, *HEURISTICS[:count]),
        paper_result("T4", "ResNet-50", f"{batch} {published}"),
    )
    for batch, changes in (("bs256", ()), ("bs1024", (batch_1024,)))
    for count, (name, published) in enumerate(_NAMES.items())
}


def get_config(row):
    return ROWS[row].make()
