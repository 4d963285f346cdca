"""Writes goldens/forward_gluoncv.json: what GluonCV's models give for generated weights.

    python tests/make_gluoncv_goldens.py

It needs MXNet and GluonCV, which want an older Python and NumPy: Python 3.10 with
`pip install "numpy<1.24" mxnet gluoncv`. test_forward_parity.py needs neither.
"""

import json
from pathlib import Path

import gluoncv
import mxnet
import numpy as np
from generated_weights import condensed, generated, images, shortened

FILE = Path(__file__).with_name("goldens") / "forward_gluoncv.json"
# Ours, theirs.
MODELS = [
    *[(f"resnet{n}_a", f"resnet{n}_v1") for n in (50, 101, 152)],
    *[(f"resnet{n}_b", f"resnet{n}_v1b") for n in (18, 34, 50, 101, 152)],
    *[(f"resnet{n}_{v}", f"resnet{n}_v1{v}") for v in "cd" for n in (50, 101, 152)],
    *[(f"mobilenet_{x:03}", f"mobilenet{x / 100}") for x in (25, 50, 75, 100)],
    ("inception_v3", "inceptionv3"),
]
SIZES = {"inception_v3": (299, 300)}  # its last pool has 8 x 8 pixels and needs them
USUAL_SIZES = (64, 65)
CLASSES = 10


def with_names(theirs):
    """A model in float64, and its parameters by name, in order.

    The convolutions of resnetN_v1, variant A, have biases and names of their own. The biases stay
    zero, and the rest is named as torchvision does, which has the same modules in the same order.
    """
    model = gluoncv.model_zoo.get_model(theirs, classes=CLASSES)
    model.initialize(mxnet.init.Zero())
    model.cast("float64")
    model(mxnet.nd.zeros((1, 3, 299, 299), dtype="float64"))  # shapes are known from here on
    parameters = model._collect_params_with_prefix()
    if not theirs.endswith("_v1"):
        return model, parameters
    kept = [p for name, p in parameters.items() if ".body." not in name or name[-5:] != ".bias"]
    usual = gluoncv.model_zoo.get_model(theirs + "b")._collect_params_with_prefix()
    leaves = {"gamma": "weight", "beta": "bias"}
    names = [name.rsplit(".", 1) for name in usual]
    return model, {f"{m}.{leaves.get(x, x)}": p for (m, x), p in zip(names, kept, strict=True)}


def run(theirs, size):
    """Logits in inference and training mode, and batch statistics after the latter, condensed."""
    model, parameters = with_names(theirs)
    for name, parameter in parameters.items():
        parameter.set_data(mxnet.nd.array(generated(name, parameter.shape), dtype="float64"))
    model.apply(without_dropout)
    x = mxnet.nd.array(images(size).transpose(0, 3, 1, 2), dtype="float64")
    found = {"inference": model(x).asnumpy().tolist()}
    with mxnet.autograd.record(train_mode=True):
        logits = model(x)
    logits.backward()  # only now MXNet moves the running statistics
    mxnet.nd.waitall()
    found["training"] = logits.asnumpy().tolist()
    found["statistics"] = [
        condensed(name, with_the_whole_momentum(name, parameter.data().asnumpy()))
        for name, parameter in parameters.items()
        if name.endswith(("running_mean", "running_var"))
    ]
    return found


def with_the_whole_momentum(name, running):
    """What a running statistic would be with 0.9 itself: MXNet computes with 0.9 in float32."""
    before, momentum = np.float64(generated(name, running.shape)), float(np.float32(0.9))
    of_batch = (running - momentum * before) / (1 - momentum)
    return 0.9 * before + 0.1 * of_batch


def without_dropout(block):
    """Turns off the dropout of a block that is one."""
    if isinstance(block, mxnet.gluon.nn.Dropout):
        block._rate = 0.0


def main():
    """Writes the file."""
    goldens = {}
    for ours, theirs in MODELS:
        for size in SIZES.get(ours, USUAL_SIZES):
            goldens[f"{ours} gluoncv {size}"] = run(theirs, size)
            print(ours, size, flush=True)
    versions = {module.__name__: module.__version__ for module in (mxnet, gluoncv, np)}
    text = json.dumps(shortened({"versions": versions, "goldens": goldens}))
    FILE.write_text(text.replace("}, ", "},\n") + "\n")


if __name__ == "__main__":
    main()
