"""Table 5: the variants A to D of ResNet-50, with the efficient training.

    python -m bot_jax.main --config configs/table5.py:resnet50_d --workdir runs/resnet50_d

The rate falls in steps here; cosine decay comes in table 6, whose first row is resnet50_d.
"""

from bot_jax.recipes import Row
from bot_jax.reference_results import paper_result
from configs.paper import efficient, recipe

# The name of a row, and what the results call it.
_NAMES = {
    "resnet50_a": ("ResNet-50", "efficient 3.8G"),
    "resnet50_b": ("ResNet-50-B", "efficient 4.1G"),
    "resnet50_c": ("ResNet-50-C", "efficient 4.3G"),
    "resnet50_d": ("ResNet-50-D", "efficient 4.3G"),
}

ROWS = {
    name: Row(recipe(name, efficient), paper_result("T5", *published))
    for name, published in _NAMES.items()
}


def get_config(row):
    return ROWS[row].make()
