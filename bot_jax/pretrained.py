"""Starting with the weights of another run, or of another framework, for data of one's own.

The model must be the same but for its classifier: an array is loaded where name and shape fit.
The classifier is kept where the data have the same classes in the same order, and a wide layer
before it where both have one; if not it starts
anew, even where there are as many, since a class would begin with the weights of another one.
Source: PaddleClas's FAQ, Q2.2 and Q5.9.
"""

import dataclasses
from pathlib import Path

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from bot_jax import export
from bot_jax.checkpoint import shape_differences
from bot_jax.errors import InputError
from bot_jax.interop.arrays import read_arrays
from bot_jax.interop.translate import from_theirs, likely_framework
from bot_jax.optim.freeze import frozen_mask
from bot_jax.optim.rate_advice import advised_rate, rate_warning

# Modules whose results are logits, or are only there to make some during training.
_HEAD, _AUXILIARY = "head", "auxiliary_head"
_WIDE = "wide"  # the layer before the classifier, where there is one: models/head.py


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """What a run starts with.

    Attributes:
      variables: {"params", "batch_stats"} without what starts anew, float32 NumPy arrays.
      report: as in pretrained.json: `pretrained` (where from), model, options, step, checksum (of
        all weights there), loaded (number of arrays), new (names of those that start anew),
        unused (names of those that are not wanted), classifier and why.
    """

    variables: dict
    report: dict

    def describe(self) -> list[tuple[str, str]]:
        """The report as names and texts."""
        report = self.report
        new = report["new"]
        names = f": {', '.join(new)}" if new else ""
        return [
            ("from", f"{report['pretrained']}"),
            ("model", f"{report['model']} after {report['step']:,} steps{report['other_options']}"),
            ("checksum", report["checksum"]),
            ("arrays loaded", f"{report['loaded']:,}"),
            ("arrays new", f"{len(new):,}{names}"),
            ("classifier", f"{report['classifier']}: {report['why']}"),
        ]


def load_pretrained(config, setup) -> Pretrained | None:
    """The weights that `config.pretrained` names, or None where it names none.

    Args:
      config: the whole configuration.
      setup: `setup.Setup`, of which state_shapes and the classes of `source` matter.

    Raises:
      InputError: there are no such weights, or they are of another model.
    """
    if not config.pretrained:
        return None
    weights = _read(Path(config.pretrained), config)
    shapes = {"params": setup.state_shapes.params, "batch_stats": setup.state_shapes.batch_stats}
    variables, facts = select(weights, shapes, config, setup.source.class_names)
    report = {
        "pretrained": config.pretrained,
        "model": weights.model,
        "step": weights.step,
        "checksum": export.checksum(weights.variables),
    }
    return Pretrained(variables, report | facts)


def _read(path, config):
    """The weights of a run, of a file of `export`, or of another framework's file."""
    if not path.exists():
        raise InputError(
            f"config.pretrained = {path}: there is no such run or file. Name the --workdir of a "
            "finished run, a file of `python -m bot_jax.export`, or weights of another framework "
            "as .safetensors, .npz, .pth, .th, .pt or .bin."
        )
    if path.is_dir() or export.is_own_file(path) or path.suffix == ".zip":
        return export.load_weights(path)
    arrays, model = read_arrays(path), config.model.name
    framework = likely_framework(arrays, model)
    # Which classes its classifier knows the file does not say.
    found = from_theirs(arrays, model, framework, drop_classifier=True)
    options, size = config.model.options.to_dict(), config.data.image_size
    return export.Weights(model, options, (), size, 0, found.variables)


def select(weights: export.Weights, shapes: dict, config, class_names) -> tuple[dict, dict]:
    """What is loaded of some weights.

    Args:
      weights: of a trained model.
      shapes: {"params", "batch_stats"} of the model to be trained.
      config: its configuration.
      class_names: of the data, in the order of the logits.

    Returns:
      {"params", "batch_stats"} without what starts anew, and the rest of `Pretrained.report`.

    Raises:
      InputError: other arrays than those of the classifier differ.
    """
    saved, wanted = flatten_dict(weights.variables), flatten_dict(shapes)
    same, why = _compare_classes(weights.class_names, tuple(class_names))
    anew = set() if same else {_HEAD, _AUXILIARY}
    # An auxiliary head is of use in training only, so that files of weights often have none.
    if _AUXILIARY not in weights.variables["params"] or _AUXILIARY not in shapes["params"]:
        anew.add(_AUXILIARY)
    # A wide layer on one side alone: the classifier has other features.
    if (_WIDE in weights.variables["params"]) != (_WIDE in shapes["params"]):
        anew |= {_WIDE, _HEAD}
        same, why = False, "a wide layer before it on one side alone"
    kept_saved, kept_wanted = (
        {path: leaf for path, leaf in tree.items() if path[1] not in anew}
        for tree in (saved, wanted)
    )
    differences = shape_differences(
        unflatten_dict(kept_saved), unflatten_dict(kept_wanted), "the weights", "this run's model"
    )
    if differences:
        raise InputError(
            f"config.pretrained = {config.pretrained} is a "
            f"{_with_options(weights.model, weights.options)}, and this run trains a "
            f"{_with_options(config.model.name, config.model.options.to_dict())}. "
            f"Apart from the classifier their arrays must be the same:\n{differences}\n"
            "Choose config.model.name and config.model.options as they were there."
        )
    loaded = {path: np.asarray(array, wanted[path].dtype) for path, array in kept_saved.items()}
    return unflatten_dict(loaded), {
        "other_options": _other_options(weights, config),
        "loaded": len(loaded),
        "new": sorted("/".join(path) for path in wanted.keys() - loaded.keys()),
        "unused": sorted("/".join(path) for path in saved.keys() - loaded.keys()),
        "classifier": "kept" if same else "replaced",
        "why": why,
    }


def _compare_classes(theirs, ours):
    if theirs == ours:
        return True, f"the same {len(ours):,} classes"
    if not theirs:
        return False, "the file does not name its classes; `bot_jax.convert --classes` makes one"
    if len(theirs) != len(ours):
        return False, f"{len(theirs):,} classes there, {len(ours):,} here"
    if set(theirs) == set(ours):
        return False, f"the same {len(ours):,} classes, in another order"
    i = next(i for i, (one, other) in enumerate(zip(theirs, ours, strict=True)) if one != other)
    return False, f"other classes: number {i} is {theirs[i]!r} there and {ours[i]!r} here"


def _with_options(name, options):
    return f"{name} with {options}" if options else name


def _other_options(weights, config):
    """In words, what of the model fits but is not the same."""
    here = config.model.options.to_dict()
    if (weights.model, weights.options) == (config.model.name, here):
        return ""
    ours = _with_options(config.model.name, here)
    return f", {weights.options or 'no options'}; here {ours}, whose arrays are the same"


def describe_transfer(config, setup) -> list[tuple[str, str]]:
    """Lines about frozen parameters, learning rates of layers, and the rate that is advised."""
    rows, freeze, params = [], config.freeze, setup.state_shapes.params
    frozen = frozen_mask(params, freeze.parameters)
    if freeze.parameters:
        sizes = [leaf.size for leaf in jax.tree.leaves(params)]
        still = sum(n for n, kept in zip(sizes, jax.tree.leaves(frozen), strict=True) if kept)
        text = f"{still:,} of {sum(sizes):,} parameters; their batch norms in {freeze.batch_norm}"
        rows.append(("frozen", text))
        if not config.pretrained:
            rows.append(("WARNING", "what is frozen stays as it was drawn: no config.pretrained"))
    if config.optimizer.layer_rates:
        rates = sorted(config.optimizer.layer_rates.items())
        rows.append(("layer rates", ", ".join(f"{name} x {factor:g}" for name, factor in rates)))
    trunk = {name: module for name, module in frozen.items() if name not in (_HEAD, _AUXILIARY)}
    # The advice is for SGD; and where all is frozen nothing can be forgotten.
    is_sgd = config.optimizer.name == "sgd"
    if config.pretrained and is_sgd and not all(jax.tree.leaves(trunk)):
        images, batch = setup.labelled_source.num_examples, config.batch_size
        advice, rate = advised_rate(images, batch), setup.peak_learning_rate
        text = f"{advice:.3g} for pretrained weights and {images:,} images; in use {rate:g}"
        rows.append(("advised rate", text))
        warning = rate_warning(
            rate, num_examples=images, num_classes=setup.num_classes, batch_size=batch
        )
        if warning:
            rows.append(("WARNING", f"config.optimizer.base_learning_rate: {warning}"))
    return rows
