"""SSLD: a student learns from a teacher on labelled and unlabelled images, then from the labels.

    python -m bot_jax.main --config configs/ssld.py:distill --workdir runs/ssld_distill \
        --config.data.path=IMAGENET --config.data.unlabelled=MORE_IMAGES
    python -m bot_jax.main --config configs/ssld.py:finetune --workdir runs/ssld_finetune \
        --config.data.path=IMAGENET

"Simple semi-supervised label knowledge distillation" of PaddleClas (arXiv 2103.05959). The first
row uses no label: its loss is the symmetric divergence between student and teacher
(losses/symmetric_kl.py), for 360 epochs at batch 1,024, rate 0.4, weight decay 7e-5. The second
goes on from its weights with the labels, for 60 epochs at a hundredth of that rate, smaller still
near the input. PaddleClas's teacher for this student was a ResNeXt-101 trained on a billion images;
here it is whatever `config.distillation.teacher` names, by default the ResNet-152-D of table6.py.
Its batch norm was in training mode there, which gave 0.16 % in their hands; here teachers are in
inference mode.

IMAGENET has train/CLASS/ and validation/CLASS/, MORE_IMAGES any images. To compare: PaddleClas took
4 million images of ImageNet-22k, without those that are near an image of the validation set.
"""

from bot_jax.recipes import Row
from bot_jax.reference_results import paddleclas_result
from configs import default
from configs.finetune import LAYER_RATES


def _resnet50_d():
    config = default.get_config()
    config.batch_size = 1024
    config.data.source = "folder"
    del config.augment.color_jitter, config.augment.pca_noise
    config.batch_norm.group_size = 256  # four GPUs
    config.optimizer.nesterov = False
    config.optimizer.no_bias_decay = False
    config.optimizer.weight_decay = 7e-5
    config.schedule.warmup_epochs = 0.0
    return config


def _distill():
    config = _resnet50_d()
    config.epochs = 360.0
    config.distillation.teacher = "runs/teacher_resnet152_d"
    config.distillation.form = "symmetric_kl"
    config.distillation.temperature = 1.0
    config.distillation.hard_weight = 0.0
    return config


def _finetune():
    config = _resnet50_d()
    config.epochs = 60.0
    config.pretrained = "runs/ssld_distill"
    config.optimizer.base_learning_rate = 0.001  # 0.004 at a batch of 1,024
    config.optimizer.layer_rates = LAYER_RATES
    return config


def _published(recipe):
    return paddleclas_result("ResNet50_vd", recipe)


ROWS = {
    "distill": Row(_distill, published=_published("SSLD large-scale 360ep bs1024 lr0.4 wd7e-5")),
    "finetune": Row(_finetune, published=_published("SSLD +finetune 60ep lr0.004")),
}


def get_config(row):
    return ROWS[row].make()
