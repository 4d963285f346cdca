"""Writes goldens/forward.json: what timm's and torchvision's models give for generated weights.

    python tests/make_forward_goldens.py

It needs PyTorch, timm and torchvision; test_forward_parity.py needs none of them.
"""

import json
from pathlib import Path

import numpy as np
import timm
import torch
import torchvision
from generated_weights import condensed, generated, images, shortened

FILE = Path(__file__).with_name("goldens") / "forward.json"
# Ours, with an option that is on behind "+"; framework; theirs.
MODELS = [
    *[(f"resnet{n}_b", "timm", f"resnet{n}") for n in (18, 26, 34, 50, 101, 152, 200)],
    *[(f"resnet{n}_d", "timm", f"resnet{n}d") for n in (18, 26, 34, 50, 101, 152, 200)],
    *[(f"resnet{n}_c", "timm", f"resnet{n}c") for n in (50, 101, 152)],
    *[(f"resnet{n}_b", "torchvision", f"resnet{n}") for n in (18, 34, 50, 101, 152)],
    ("inception_v3", "timm", "inception_v3"),
    ("inception_v3", "torchvision", "inception_v3"),
    ("inception_v3+auxiliary_head", "torchvision", "inception_v3"),
    ("mobilenet_100", "timm", "mobilenetv1_100"),
]
# The auxiliary head needs 299 pixels.
SIZES = {"inception_v3": (75, 96), "inception_v3+auxiliary_head": (299,)}
USUAL_SIZES = (64, 65)
CLASSES = 10


def make(ours, framework, name):
    """The model that is `name` there, with generated weights, in float64."""
    if framework == "timm":
        # Its MobileNet has ReLU6; the paper's, GluonCV's and ours have ReLU.
        more = {"act_layer": torch.nn.ReLU} if "mobilenet" in name else {}
        model = timm.create_model(name, num_classes=CLASSES, **more)
    else:
        more = {"init_weights": False, "aux_logits": "+" in ours} if "inception" in name else {}
        model = torchvision.models.get_model(name, weights=None, num_classes=CLASSES, **more)
    state = {
        key: torch.from_numpy(np.array(generated(key, tuple(value.shape))))
        for key, value in model.state_dict().items()
        if value.is_floating_point()
    }
    model.load_state_dict(state, strict=False)
    return model.double()


def run(model, size):
    """Logits in inference and training mode, and batch statistics after the latter, condensed."""
    x = torch.from_numpy(images(size)).permute(0, 3, 1, 2)
    with torch.no_grad():
        model.eval()
        found = {"inference": model(x).tolist()}
        counts = {}
        norms = {
            name: module
            for name, module in model.named_modules()
            if isinstance(module, torch.nn.BatchNorm2d)
        }
        before = {name: module.running_var.clone() for name, module in norms.items()}
        for name, module in norms.items():
            module.register_forward_pre_hook(
                lambda _, given, name=name: counts.update({name: given[0][:, 0].numel()})
            )
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        model.train()
        logits = model(x)
        # With an auxiliary head (logits, its logits).
        found["training"] = (torch.stack(logits) if isinstance(logits, tuple) else logits).tolist()
    statistics = []
    for name, module in norms.items():
        # PyTorch averages the unbiased variance, we the biased one.
        n, old = counts[name], (1 - module.momentum) * before[name]
        var = old + (module.running_var - old) * (n - 1) / n
        mean_name, var_name = f"{name}.running_mean", f"{name}.running_var"
        statistics.append(condensed(mean_name, module.running_mean.numpy()))
        statistics.append(condensed(var_name, var.numpy()))
    return found | {"statistics": statistics}


def main():
    """Writes the file."""
    goldens = {}
    for ours, framework, theirs in MODELS:
        for size in SIZES.get(ours, USUAL_SIZES):
            goldens[f"{ours} {framework} {size}"] = run(make(ours, framework, theirs), size)
            print(ours, framework, size, flush=True)
    versions = {module.__name__: module.__version__ for module in (torch, timm, torchvision)}
    FILE.parent.mkdir(exist_ok=True)
    text = json.dumps(shortened({"versions": versions, "goldens": goldens}))
    FILE.write_text(text.replace("}, ", "},\n") + "\n")


if __name__ == "__main__":
    main()
