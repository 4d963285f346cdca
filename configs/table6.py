r"""Table 6: refinements of the training, one upon another, for three networks.

The distilled rows need a teacher, a ResNet-152-D, which is found where it was trained:

    python -m bot_jax.main --config configs/table6.py:teacher_resnet152_d \
        --workdir runs/teacher_resnet152_d
    python -m bot_jax.main --config configs/table6.py:resnet50_d_distill \
        --workdir runs/resnet50_d_distill

The rows *_distill_mixup need runs/teacher_resnet152_d_mixup. A teacher that is elsewhere is named
with --config.distillation.teacher.

Not in the paper: the distilled rows' epochs, of which 120 and, with mixup, 200 are implied; whether
the term of the labels is smoothed in distillation (here, as in the released code, it is); at which
resolution the teacher sees an Inception-V3's images (here the same 299 pixels); and how the
teachers were trained, but that they had cosine decay and label smoothing, and with mixup mixup:
here efficiently, as the students. The released ResNet-152-D, which may be them, are of float32 and
smaller batches: gluoncv.py. The paper has no accuracy of a teacher.
"""

from bot_jax.recipes import Row
from bot_jax.reference_results import gluoncv_result, paper_result
from configs.paper import cosine, distill, efficient, label_smoothing, mixup, recipe

_MODELS = {
    "resnet50_d": ("resnet50_d", "ResNet-50-D"),
    "inception_v3": ("inception_v3", "Inception-V3"),
    "mobilenet": ("mobilenet_100", "MobileNet"),
}

_STACKS = {
    "efficient": ("efficient", (efficient,)),
    "cosine": ("+cosine", (efficient, cosine)),
    "label_smoothing": ("+label smoothing", (efficient, cosine, label_smoothing)),
    "distill": ("+distill w/o mixup", (efficient, cosine, label_smoothing, distill)),
    "mixup": ("+mixup w/o distill", (efficient, cosine, label_smoothing, mixup)),
    "distill_mixup": ("+distill w/ mixup", (efficient, cosine, label_smoothing, mixup, distill)),
}

# The rows of GluonCV's model zoo that were trained with the same refinements.
_GLUONCV = {
    "resnet50_d_label_smoothing": gluoncv_result("ResNet50_v1d", "120"),
    "resnet50_d_mixup": gluoncv_result("ResNet50_v1d", "200"),
    "inception_v3_label_smoothing": gluoncv_result("InceptionV3"),
    "inception_v3_mixup": gluoncv_result("InceptionV3", "200"),
    "mobilenet_label_smoothing": gluoncv_result("MobileNet1.0", "120"),
    "mobilenet_mixup": gluoncv_result("MobileNet1.0", "200?"),
}


def _row(name, stack):
    model, published_model = _MODELS[name]
    published, changes = _STACKS[stack]
    several_runs = name == "resnet50_d"
    return Row(
        recipe(model, *changes),
        paper_result("T6", published_model, published),
        paper_result("T6 CVPR", published_model, published) if several_runs else None,
        _GLUONCV.get(f"{name}_{stack}"),
    )


ROWS = {f"{name}_{stack}": _row(name, stack) for name in _MODELS for stack in _STACKS} | {
    "teacher_resnet152_d": Row(
        recipe("resnet152_d", efficient, cosine, label_smoothing),
        gluoncv=gluoncv_result("ResNet152_v1d", "120"),
    ),
    "teacher_resnet152_d_mixup": Row(
        recipe("resnet152_d", efficient, cosine, label_smoothing, mixup),
        gluoncv=gluoncv_result("ResNet152_v1d", "200"),
    ),
}


def get_config(row):
    return ROWS[row].make()
