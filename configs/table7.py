r"""Table 7: ResNet-50-D on MIT Places365; "best" adds cosine decay, label smoothing and mixup.

    python -m bot_jax.main --config configs/table7.py:places365_best --workdir runs/places365_best

The images come through tensorflow-datasets, or from a folder of train/CLASS/ and val/CLASS/:

    python -m bot_jax.main --config configs/table7.py:places365_best --workdir runs/places365_best \
        --config.data.source=folder --config.data.path=DIR

The paper leaves open nearly all of this recipe: epochs, learning rate and batch size, and whether
it starts from weights learned on ImageNet. The rows train from scratch, as on ImageNet: a batch of
1,024, rate 0.4, 120 epochs, and 200 with mixup. Nor does it say which images: here those of 256
pixels, of the standard training split. The accuracies are those of the validation split; the paper
also has some of the test split, whose labels are not public.
"""

from bot_jax.recipes import Row
from bot_jax.reference_results import paper_result
from configs.paper import cosine, efficient, label_smoothing, mixup, recipe


def places365(config):
    """The small images of Places365, in place of ImageNet."""
    config.data.source = "tfds"
    config.data.tfds_name = "places365_small"


def _row(published, *changes):
    result = paper_result("T7", "ResNet-50-D", published)
    return Row(recipe("resnet50_d", places365, *changes), result, remark=result.note)


ROWS = {
    "places365_efficient": _row("Places365 efficient", efficient),
    "places365_best": _row("Places365 best", efficient, cosine, label_smoothing, mixup),
}


def get_config(row):
    return ROWS[row].make()
