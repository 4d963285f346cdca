"""Arrays of a model under our names and another framework's, there and back without loss.

GluonCV's resnetN_v1, variant A, has biases in the 1x1 convolutions of its bottlenecks, which the
batch norm behind each of them takes away again: normalised by the statistics of a batch they make
no difference, and normalised by running ones

    (w x + b - mean) / sqrt(var + eps) = (w x - (mean - b)) / sqrt(var + eps)

so that `mean - b` is our running mean. Going there, biases are zero.
"""

import contextlib
import dataclasses
from collections import Counter

import numpy as np

from bot_jax.errors import InputError
from bot_jax.interop.names import FRAMEWORKS, module_names

# Ours -> theirs, of batch norm; `kernel` is `weight` and `bias` is `bias` in dense layers.
_LEAVES = {
    "gluoncv": {"scale": "gamma", "bias": "beta", "mean": "running_mean", "var": "running_var"},
    "paddleclas": {"scale": "weight", "bias": "bias", "mean": "_mean", "var": "_variance"},
}
_TORCH_LEAVES = {
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}
_COUNTER = "num_batches_tracked"  # of PyTorch's batch norms; nothing here depends on it
_HEAD, _AUXILIARY = "head", "auxiliary_head"
_SHOWN = 20


@dataclasses.dataclass(frozen=True)
class Translation:
    """Weights of another framework under our names.

    Attributes:
      variables: {"params", "batch_stats"}, float32 NumPy arrays.
      options: those of the model that the arrays ask for.
      num_classes: rows of the classifier; 0 where it was dropped.
      rounded: names of arrays in float64 that float32 does not hold exactly.
    """

    variables: dict
    options: dict
    num_classes: int
    rounded: list[str]


def _shapes(model, num_classes, options):
    """Our path of each array -> its shape."""
    from flax.traverse_util import flatten_dict

    from bot_jax.models.registry import get_model, model_info
    from bot_jax.state import variable_shapes

    made = get_model(model, num_classes=num_classes, **options)
    shapes = flatten_dict(variable_shapes(made, model_info(model).input_size))
    return {path: tuple(leaf.shape) for path, leaf in shapes.items()}


def _their_names(model, framework, paths) -> dict[tuple, str]:
    """Our path of each array -> their name of it."""
    name_of = module_names(model, framework)
    modules = {"/".join(path[1:-1]) for path in paths}
    firsts = {module.split("/")[0] for module in modules if module.startswith("stage")}
    blocks = Counter(int(first.removeprefix("stage").split("_")[0]) for first in firsts)
    kernels = {path[1:-1] for path in paths if path[-1] == "kernel"}
    names = {}
    for path in paths:
        if path[1:-1] in kernels:
            leaf = {"kernel": "weight"}.get(path[-1], path[-1])
        else:
            leaf = _LEAVES.get(framework, _TORCH_LEAVES)[path[-1]]
        names[path] = f"{name_of('/'.join(path[1:-1]), blocks)}.{leaf}"
    return names


def _biases(model, framework, names) -> dict[str, str]:
    """Biases that only they have -> the running mean behind each."""
    if framework != "gluoncv" or not model.endswith("_a"):
        return {}
    found = {}
    for path, name in names.items():
        block = ("params", *path[1:-2])
        if path[-2:] in (("conv1", "kernel"), ("conv3", "kernel")) and (
            (*block, "conv3", "kernel") in names  # basic blocks have none
        ):
            mean = ("batch_stats", *path[1:-2], path[-2].replace("conv", "bn"), "mean")
            found[name.removesuffix("weight") + "bias"] = names[mean]
    return found


def _without_biases(arrays, biases):
    """Subtracts each bias that is there from the running mean behind it."""
    arrays = dict(arrays)
    for bias, mean in biases.items():
        if bias in arrays and mean in arrays and arrays[bias].shape == arrays[mean].shape:
            difference = arrays[mean].astype(np.float64) - arrays.pop(bias)
            arrays[mean] = difference.astype(np.float32)
    return arrays


def _axes(framework, number, back=False):
    """The order of axes that makes their array ours, or `back`: the other way round."""
    if number == 4:
        return (3, 2, 0, 1) if back else (2, 3, 1, 0)
    return (1, 0) if number == 2 and framework != "paddleclas" else tuple(range(number))


def from_theirs(
    arrays: dict[str, np.ndarray], model: str, framework: str, drop_classifier: bool = False
) -> Translation:
    """Another framework's arrays under our names.

    Args:
      arrays: theirs, by name.
      model: ours, a name of the registry.
      framework: one of `names.FRAMEWORKS`.
      drop_classifier: leave the classifier out, for other classes.

    Raises:
      InputError: arrays are missing, unexpected, of another shape or no numbers; all are listed.
    """
    arrays = {name: array for name, array in arrays.items() if not name.endswith(_COUNTER)}
    options = {_AUXILIARY: True} if any(name.startswith("AuxLogits") for name in arrays) else {}
    names = _their_names(model, framework, _shapes(model, 2, options))
    bias = next(name for path, name in names.items() if path == ("params", _HEAD, "bias"))
    num_classes = len(arrays[bias]) if bias in arrays and arrays[bias].ndim == 1 else 0
    if not num_classes and not drop_classifier:
        raise InputError(
            f"The arrays have no {bias}, from which the number of classes would follow: they are "
            f"not those of a {model} of {framework}, or without a classifier. "
            "For the latter there is --drop-classifier."
        )
    shapes = _shapes(model, max(num_classes, 2), options)
    arrays = _without_biases(arrays, _biases(model, framework, names))
    unwanted = {path for path in shapes if drop_classifier and path[1] in (_HEAD, _AUXILIARY)}
    _compare(arrays, shapes, names, unwanted, framework, model)
    flat, rounded = {}, []
    for path in shapes.keys() - unwanted:
        array = arrays[names[path]]
        single = np.ascontiguousarray(array.astype(np.float32))
        if array.dtype == np.float64 and not np.array_equal(single, array, equal_nan=True):
            rounded.append(names[path])
        flat[path] = np.ascontiguousarray(single.transpose(_axes(framework, array.ndim)))
    from flax.traverse_util import unflatten_dict

    if drop_classifier:
        options, num_classes = {}, 0
    variables = unflatten_dict({path: flat[path] for path in sorted(flat)})
    return Translation(variables, options, num_classes, sorted(rounded))


def likely_framework(arrays: dict[str, np.ndarray], model: str) -> str:
    """The framework whose names of a model the arrays have the most of.

    Raises:
      InputError: no framework has the model.
    """
    found = {}
    shapes = _shapes(model, 2, {})
    for framework in FRAMEWORKS:
        with contextlib.suppress(InputError):
            names = _their_names(model, framework, shapes).values()
            found[framework] = sum(name in arrays for name in names)
    if not found:
        raise InputError(f"No other framework has the arrays of {model}.")
    return max(found, key=found.get)


def _compare(arrays, shapes, names, unwanted, framework, model):
    """Refuses arrays that are not those of the model, with all that differs."""
    expected = {}
    for path, shape in shapes.items():
        order = _axes(framework, len(shape), back=True)
        expected[names[path]] = tuple(shape[axis] for axis in order)
    ignored = {names[path] for path in unwanted}
    wanted = {name: shape for name, shape in expected.items() if name not in ignored}
    found = {name: array for name, array in arrays.items() if name not in ignored}
    lists = {
        "missing": [f"{name} {wanted[name]}" for name in wanted if name not in found],
        "unexpected": [f"{name} {found[name].shape}" for name in found if name not in wanted],
        "of another shape": [
            f"{name} {found[name].shape}, expected {shape}"
            for name, shape in wanted.items()
            if name in found and found[name].shape != shape
        ],
        "of another type": [
            f"{name} {array.dtype}, expected floating point"
            for name, array in found.items()
            if name in wanted and not _is_float(array.dtype)
        ],
    }
    if any(lists.values()):
        text = f"These are not the arrays of a {model} of {framework}."
        for what, entries in lists.items():
            if entries:
                more = len(entries) - _SHOWN
                shown = entries[:_SHOWN] + ([f"and {more} more"] if more > 0 else [])
                text += f"\n{len(entries)} {what}:\n  " + "\n  ".join(shown)
        raise InputError(text)


def _is_float(dtype):
    return np.issubdtype(dtype, np.floating) or dtype.name == "bfloat16"


def to_theirs(
    variables: dict, model: str, framework: str, drop_classifier: bool = False
) -> dict[str, np.ndarray]:
    """Our arrays under another framework's names, float32; the inverse of `from_theirs`.

    Raises:
      InputError: the framework has no such model, or no such part of it.
    """
    from flax.traverse_util import flatten_dict

    flat = flatten_dict(variables)
    if drop_classifier:
        left_out = (_HEAD, _AUXILIARY)
        flat = {path: array for path, array in flat.items() if path[1] not in left_out}
    names, theirs = _their_names(model, framework, flat), {}
    for bias, mean in _biases(model, framework, names).items():
        path = next(path for path, name in names.items() if name == mean)
        theirs[bias] = np.zeros(flat[path].shape, np.float32)
    for path, array in flat.items():
        order = _axes(framework, array.ndim, back=True)
        theirs[names[path]] = np.ascontiguousarray(np.asarray(array, np.float32).transpose(order))
        if path[-1] == "var" and framework not in _LEAVES:
            counter = names[path].replace("running_var", _COUNTER)
            theirs[counter] = np.zeros((), np.int64)
    return theirs
