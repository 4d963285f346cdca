"""What other frameworks call the modules of a model: one function a family of models.

A name of ours is a path such as "stage1_block2/conv1"; theirs are joined by dots, as in
"layer1.1.conv1". Sources: the state dictionaries of timm 1.0.31 and torchvision 0.29.1;
gluoncv/model_zoo of GluonCV (resnetv1b.py, mobilenet.py, inception.py, names as `save_parameters`
writes them) and ppcls/arch/backbone/legendary_models of PaddleClas (resnet.py, mobilenet_v1.py,
inception_v3.py).

    framework               leaves of a batch norm                  dense kernel
    timm, torchvision,      weight, bias, running_mean,             [out, in]
    pytorch_resnet_cifar10  running_var, num_batches_tracked
    gluoncv                 gamma, beta, running_mean, running_var  [out, in]
    paddleclas              weight, bias, _mean, _variance          [in, out]

GluonCV's resnetN_v1, variant A, has biases in the 1x1 convolutions of its bottlenecks as well, see
translate.py.

Kernels of convolutions are [out, in, height, width] in all of them, and [height, width, in, out]
here.
"""

import re
from collections.abc import Callable

from bot_jax.errors import InputError

# He's networks for CIFAR are in neither timm nor torchvision; the last is akamaster's repository.
FRAMEWORKS = ("timm", "torchvision", "gluoncv", "paddleclas", "pytorch_resnet_cifar10")
_BLOCK = re.compile(r"stage(\d+)_block(\d+)/(.+)")


def module_names(model: str, framework: str) -> Callable[[str, dict], str]:
    """How a framework names the modules of a model.

    Args:
      model: a name of the registry.
      framework: one of `FRAMEWORKS`.

    Returns:
      A function (our path of a module, number of blocks in each stage) -> their name.

    Raises:
      InputError: the framework has no such model.
    """
    if match := re.fullmatch(r"resnet\d+_cifar", model):
        found = {"pytorch_resnet_cifar10": _akamaster}.get(framework)
    elif match := re.fullmatch(r"resnet\d+_([abcd])", model):
        found = None if _is_basic_in_paddle(model, framework) else _resnet(match[1], framework)
    elif model.startswith("mobilenet_"):
        found = {"timm": _timm_mobilenet, "gluoncv": _gluon_mobilenet}.get(framework)
        found = _paddle_mobilenet if framework == "paddleclas" else found
    elif model == "inception_v3":
        found = {
            "timm": _torch_inception,
            "torchvision": _torch_inception,
            "gluoncv": _gluon_inception,
            "paddleclas": _paddle_inception,
        }.get(framework)
    else:
        found = None
    if found is None:
        why = _why_not(framework, model)
        raise InputError(f"{framework} has no model with the arrays of {model}.{why}")
    return found


def _is_basic_in_paddle(model, framework):
    return framework == "paddleclas" and re.match(r"resnet(18|34)_", model)


def _why_not(framework, model):
    if _is_basic_in_paddle(model, framework):
        return " Its ResNet-18 and -34 have a projection in their first block, the paper's do not."
    return _WHY_NOT.get((framework, model.rpartition("_")[-1]), "")


_WHY_NOT = {
    ("torchvision", "c"): " It has variant B alone.",
    ("torchvision", "d"): " It has variant B alone.",
    ("paddleclas", "c"): " Its ResNet_vc is of an older code with other names.",
    ("gluoncv", "cifar"): " Its cifar_resnetN_v1 have projections in their shortcuts, He's do not.",
}


def _split(path):
    """(stage, block, rest) of a module in a block, else None."""
    match = _BLOCK.fullmatch(path)
    return match and (int(match[1]), int(match[2]), match[3])


def _before(blocks, stage):
    """How many blocks are in the stages before."""
    return sum(count for number, count in blocks.items() if number < stage)


def _resnet(variant, framework):
    if framework in ("timm", "gluoncv") or (framework == "torchvision" and variant in "ab"):
        if (framework, variant) == ("gluoncv", "a"):
            return _gluon_resnet_v1
        # A stem of three convolutions is a sequence of conv, norm, relu; the last norm is outside.
        stem = {"conv": "conv1", "bn": "bn1", "conv1": "conv1.0", "bn1": "conv1.1"}
        stem |= {"conv2": "conv1.3", "bn2": "conv1.4", "conv3": "conv1.6", "bn3": "bn1"}
        first = 1 if variant == "d" else 0  # D has a pool before it

        def name(path, blocks):
            if path == "head":
                return "fc"
            if found := _split(path):
                stage, block, rest = found
                rest = {"shortcut_conv": f"downsample.{first}"}.get(rest, rest)
                rest = {"shortcut_bn": f"downsample.{first + 1}"}.get(rest, rest)
                return f"layer{stage}.{block - 1}.{rest}"
            return stem[path.removeprefix("stem_")]

        return name
    return _paddle_resnet if framework == "paddleclas" and variant != "c" else None


def _gluon_resnet_v1(path, blocks):
    """Of resnetN_v1; resnetN_v1b and so on have torchvision's names."""
    if path == "head":
        return "output"
    if found := _split(path):
        stage, block, rest = found
        kind, number = re.fullmatch(r"(?:shortcut_)?(conv|bn)(\d*)", rest).groups()
        # Both ways are sequences: conv, norm, relu, conv, norm, ...
        part = f"body.{3 * (int(number) - 1) + (kind == 'bn')}" if number else ""
        part = part or f"downsample.{int(kind == 'bn')}"
        return f"features.{3 + stage}.{block - 1}.{part}"
    return {"stem_conv": "features.0", "stem_bn": "features.1"}[path]


def _paddle_resnet(path, blocks):
    if path == "head":
        return "fc"
    if found := _split(path):
        stage, block, rest = found
        kind, number = re.fullmatch(r"(?:shortcut_)?(conv|bn)(\d*)", rest).groups()
        part = f"conv{int(number) - 1}" if number else "short"
        return f"blocks.{_before(blocks, stage) + block - 1}.{part}.{kind}"
    kind, number = re.fullmatch(r"stem_(conv|bn)(\d*)", path).groups()
    return f"stem.{int(number or 1) - 1}.{kind}"


def _akamaster(path, blocks):
    if found := _split(path):
        return f"layer{found[0]}.{found[1] - 1}.{found[2]}"
    return {"head": "linear", "stem_conv": "conv1", "stem_bn": "bn1"}[path]


def _timm_mobilenet(path, blocks):
    if found := _split(path):
        stage, block, rest = found
        rest = {"conv1": "conv_dw", "conv2": "conv_pw"}.get(rest, rest)
        return f"blocks.{stage - 1}.{block - 1}.{rest}"
    return {"head": "classifier", "stem_conv": "conv_stem", "stem_bn": "bn1"}[path]


def _gluon_mobilenet(path, blocks):
    if path == "head":
        return "output"
    # A sequence of conv, norm, relu.
    number = 0
    if found := _split(path):
        stage, block, path = found
        number = 1 + 2 * (_before(blocks, stage) + block - 1) + int(path[-1]) - 1
    return f"features.{3 * number + ('bn' in path)}"


def _paddle_mobilenet(path, blocks):
    if found := _split(path):
        stage, block, rest = found
        part = {"1": "depthwise_conv", "2": "pointwise_conv"}[rest[-1]]
        return f"blocks.{_before(blocks, stage) + block - 1}.{part}.{rest[:-1]}"
    return {"head": "fc", "stem_conv": "conv.conv", "stem_bn": "conv.bn"}[path]


_INCEPTION_STEM = ("1a_3x3", "2a_3x3", "2b_3x3", "3b_1x1", "4a_3x3")


def _inception_branch(stage, block, branch):
    """The name in torchvision of a convolution of a block."""
    reduces = block == 1
    if branch in ("branch1x1_1", "branch_pool_1") or (stage, reduces, branch) == (
        *(2, True),
        "branch3x3_1",
    ):
        return branch.removesuffix("_1")
    if stage == 1 and branch.startswith("branch3x3"):
        return branch.replace("3x3", "3x3dbl")
    if stage == 3 and reduces and branch.startswith("branch7x7"):
        return branch.replace("7x7", "7x7x3")
    last = "3" if "double" in branch else "2"
    branch = branch.replace("row", f"{last}a").replace("column", f"{last}b")
    return branch.replace("_double", "dbl")


def _torch_inception(path, blocks):
    if found := _split(path):
        stage, block, rest = found
        branch, part = rest.split("/")
        letter = "abcde"[block if stage == 1 else block - 1]  # Mixed_5a is a pool
        return f"Mixed_{4 + stage}{letter}.{_inception_branch(stage, block, branch)}.{part}"
    if path.startswith("stem_"):
        layer, part = path.split("/")
        return f"Conv2d_{_INCEPTION_STEM[int(layer[-1]) - 1]}.{part}"
    names = {"head": "fc", "auxiliary_head/head": "AuxLogits.fc"}
    names |= {
        f"auxiliary_head/layer{i + 1}/{part}": f"AuxLogits.conv{i}.{part}"
        for i in (0, 1)
        for part in ("conv", "bn")
    }
    return names[path]


def _paddle_inception(path, blocks):
    if found := _split(path):
        stage, block, rest = found
        branch, part = rest.split("/")
        branch = _inception_branch(stage, block, branch)
        branch = {"branch_pool": "branch_pool_conv"}.get(branch, branch)
        number = _before(blocks, stage) + block - 1
        return f"inception_block_list.{number}.{branch}.{part}"
    if path.startswith("stem_"):
        layer, part = path.split("/")
        return f"inception_stem.conv_{_INCEPTION_STEM[int(layer[-1]) - 1]}.{part}"
    if path == "head":
        return "fc"
    raise InputError("paddleclas has no auxiliary head for inception_v3.")


def _gluon_inception(path, blocks):
    if path == "head":
        return "output"
    if path.startswith("auxiliary_head"):
        raise InputError("gluoncv saves no auxiliary head for inception_v3.")
    if path.startswith("stem_"):
        layer, part = path.split("/")
        number = int(layer[-1]) - 1
        return f"features.{number + (number > 2)}.{int(part == 'bn')}"  # a pool after the third
    stage, block, rest = _split(path)
    branch, part = rest.split("/")
    where, _, number = branch.rpartition("_")
    block = 7 + _before(blocks, stage) + block - 1
    if number in ("row", "column"):
        index = 1 if where == "branch3x3" else 2
        return f"features.{block}.{index}.1.{int(number == 'column')}.0.{int(part == 'bn')}"
    children = _GLUON_BRANCHES[stage, min(int(_split(path)[1]), 2)]
    index, number = children.index(where), int(number) - (where != "branch_pool")
    # Those that split at the end are a sequence of what is before, and of the split.
    inner = "0." if stage == 3 and _split(path)[1] > 1 and index in (1, 2) else ""
    return f"features.{block}.{index}.{inner}{number}.{int(part == 'bn')}"


# (stage, 1 or 2 for the first and for other blocks) -> branches in their order.
_GLUON_BRANCHES = {
    (1, 1): ("branch1x1", "branch5x5", "branch3x3", "branch_pool"),
    (1, 2): ("branch1x1", "branch5x5", "branch3x3", "branch_pool"),
    (2, 1): ("branch3x3", "branch3x3_double"),
    (2, 2): ("branch1x1", "branch7x7", "branch7x7_double", "branch_pool"),
    (3, 1): ("branch3x3", "branch7x7"),
    (3, 2): ("branch1x1", "branch3x3", "branch3x3_double", "branch_pool"),
}
