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
from generated_weights import (
    condensed,
    generated,
    generated_for_gluoncv_v1,
    images,
    shortened,
)

FILE = Path(__file__).with_name("goldens") / "forward_gluoncv.json"
# Ours, theirs.
MODELS = [
    *[(f"resnet{n}_a", f"resnet{n}_v1") for n in (18, 34, 50, 101, 152)],
    *[(f"resnet{n}_b", f"resnet{n}_v1b") for n in (18, 34, 50, 101, 152)],
    *[(f"resnet{n}_{v}", f"resnet{n}_v1{v}") for v in "cd" for n in (50, 101, 152)],
    *[(f"mobilenet_{x:03}", f"mobilenet{x / 100}") for x in (25, 50, 75, 100)],
    ("inception_v3", "inceptionv3"),
]
SIZES = {"inception_v3": (299, 300)}  # its last pool has 8 x 8 pixels and needs them
USUAL_SIZES = (64, 65)
CLASSES = 10


def with_names(theirs):
    """A model in float64, and its parameters by name."""
    model = gluoncv.model_zoo.get_model(theirs, classes=CLASSES)
    model.initialize(mxnet.init.Zero())
    model.cast("float64")
    model(mxnet.nd.zeros((1, 3, 299, 299), dtype="float64"))  # shapes are known from here on
    return model, model._collect_params_with_prefix()


def run(theirs, size):
    """Logits in inference and training mode, and batch statistics after the latter, condensed."""
    model, parameters = with_names(theirs)
    make = generated_for_gluoncv_v1 if theirs.endswith("_v1") else generated
    arrays = {name: make(name, parameter.shape) for name, parameter in parameters.items()}
    for name, parameter in parameters.items():
        parameter.set_data(mxnet.nd.array(arrays[name], dtype="float64"))
    model.apply(without_dropout)
    x = mxnet.nd.array(images(size).transpose(0, 3, 1, 2), dtype="float64")
    found = {"inference": model(x).asnumpy().tolist()}
    with mxnet.autograd.record(train_mode=True):
        logits = model(x)
    logits.backward()  # only now MXNet moves the running statistics
    mxnet.nd.waitall()
    found["training"] = logits.asnumpy().tolist()
    found["statistics"] = [
        condensed(name, statistic(name, parameter.data().asnumpy(), arrays))
        for name, parameter in parameters.items()
        if name.endswith(("running_mean", "running_var"))
    ]
    return found


def statistic(name, running, arrays):
    """A running statistic as it would be with a momentum of 0.9 itself and without a bias before.

    MXNet computes with 0.9 in float32. Variant A has biases in convolutions, ours has none.
    """
    before, momentum = np.float64(arrays[name]), float(np.float32(0.9))
    of_batch = (running - momentum * before) / (1 - momentum)
    module, _, leaf = name.rpartition(".")
    body, _, number = module.rpartition(".")
    bias = arrays.get(f"{body}.{int(number) - 1}.bias", 0.0) if number.isdigit() else 0.0
    return 0.9 * before + 0.1 * of_batch - (bias if leaf == "running_mean" else 0.0)


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
