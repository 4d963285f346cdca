"""A model as one file that runs without this package: a StableHLO program and its weights.

The file is a zip, not compressed:

    metadata.json        names of the classes, numbers of the preprocessing, versions, ...
    model.bin            the program, by `jax.export`: uint8 RGB images
                         [batch, image_size, image_size, 3] -> {"logits", "probabilities"}
    model_any_size.bin   the same for images [batch, height, width, 3] of any one size, which it
                         resizes and crops as an evaluation does
    weights.safetensors  the arrays that both take as their first argument, a dict; it is also a
                         file of weights as export.py writes it

`batch`, `height` and `width` are symbolic: of any size. Both programs normalise the images, and are
lowered for all of `PLATFORMS`. docs/export.md shows how to run them with JAX and NumPy alone.

Reading it executes nothing, but predicting with it runs the program. So one from a stranger is a
program from a stranger, unlike a file of weights.
"""

import dataclasses
import json
import os
import tempfile
import zipfile
from pathlib import Path

from bot_jax import export
from bot_jax.classifier import Classifier
from bot_jax.errors import InputError
from bot_jax.preprocessing import make_preprocessing, resize_and_center_crop

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
_FORMAT = 1
_METADATA, _WEIGHTS = "metadata.json", "weights.safetensors"
_PROGRAM, _ANY_SIZE = "model.bin", "model_any_size.bin"


def write_artifact(file: Path, classifier: Classifier) -> None:
    """Writes an artifact, at once. The same classifier and versions give the same bytes."""
    from flax.traverse_util import unflatten_dict

    size = classifier.preprocessing.image_size
    weights = export.Weights(
        classifier.model,
        classifier.options,
        classifier.class_names,
        size,
        classifier.step,
        unflatten_dict(classifier.weights, sep="/"),
    )

    def from_any_size(arrays, images):
        return classifier.apply(arrays, resize_and_center_crop(images, classifier.preprocessing))

    entries = {
        _METADATA: json.dumps(metadata(classifier), indent=2).encode(),
        _PROGRAM: _export(classifier.apply, classifier.weights, f"batch, {size}, {size}, 3"),
        _ANY_SIZE: _export(from_any_size, classifier.weights, "batch, height, width, 3"),
        _WEIGHTS: export.weights_bytes(weights),
    }
    temporary = file.with_name(file.name + ".tmp")
    with zipfile.ZipFile(temporary, "w") as archive:
        for name, content in entries.items():
            archive.writestr(zipfile.ZipInfo(name), content)  # without the time
    os.replace(temporary, file)


def metadata(classifier: Classifier) -> dict:
    """What metadata.json has, for those who run the model without this package too."""
    from bot_jax import __version__
    from bot_jax.augment.normalize import MEAN, STANDARD_DEVIATION
    from bot_jax.workdir import versions

    facts = {
        field.name: getattr(classifier, field.name)
        for field in dataclasses.fields(Classifier)
        if field.name not in ("weights", "apply", "preprocessing")
    }
    normalization = {"mean": MEAN, "standard_deviation": STANDARD_DEVIATION}  # of 0..255
    return {
        "format": _FORMAT,
        **facts,
        "preprocessing": dataclasses.asdict(classifier.preprocessing) | normalization,
        "platforms": PLATFORMS,
        "versions": {"bot_jax": __version__} | versions(),
    }


def _export(function, weights, shape: str) -> bytes:
    """The program of (weights, uint8 images of a symbolic shape), serialised."""
    import jax
    import jax.export
    import numpy as np

    arrays = {name: jax.ShapeDtypeStruct(x.shape, x.dtype) for name, x in weights.items()}
    images = jax.ShapeDtypeStruct(jax.export.symbolic_shape(shape), np.uint8)
    frames = jax.config.jax_traceback_in_locations_limit
    jax.config.update("jax_traceback_in_locations_limit", 0)  # else it names files of this machine
    try:
        exported = jax.export.export(jax.jit(function), platforms=PLATFORMS)(arrays, images)
        return bytes(exported.serialize())
    finally:
        jax.config.update("jax_traceback_in_locations_limit", frames)


def is_artifact(path: Path) -> bool:
    """Whether a path is a file that could be an artifact, which begins as a zip does."""
    try:
        with path.open("rb") as stream:
            return stream.read(4) == b"PK\x03\x04"
    except OSError:
        return False


def read_artifact_weights(file: Path) -> export.Weights:
    """The weights in a file of `write_artifact`, without its program.

    Raises:
      InputError: it cannot be read, or is not such a file.
    """
    with tempfile.TemporaryDirectory() as folder:
        extracted = Path(folder) / _WEIGHTS
        try:
            extracted.write_bytes(_read_entries(file)[_WEIGHTS])
            return export.read_weights(extracted)
        except Exception as error:  # of a damaged file anything may come
            reason = str(error).replace(str(extracted), _WEIGHTS)
            raise InputError(f"{file} cannot be read as an exported model: {reason}") from error


def read_artifact(file: Path) -> Classifier:
    """Reads a file of `write_artifact`; the program is compiled when it is first called.

    Raises:
      InputError: it cannot be read, is not such a file, or is of another version.
    """
    import jax.export
    from safetensors.numpy import load

    try:
        contents = _read_entries(file)
        facts = _facts(contents[_METADATA], file)
        weights = load(contents[_WEIGHTS])
    except InputError:
        raise
    except Exception as error:  # of a damaged file anything may come
        reason = f"it has no {error}" if isinstance(error, KeyError) else error
        raise InputError(f"{file} cannot be read as an exported model: {reason}") from error
    versions = f"It was written with JAX {facts.pop('jax')}; this is {jax.__version__}."
    try:
        exported = jax.export.deserialize(bytearray(contents[_PROGRAM]))
        _check_program(exported, weights, facts)
    except Exception as error:
        raise InputError(
            f"{file} has a program that cannot be used: {error}. {versions}"
        ) from error
    return Classifier(weights=weights, apply=exported.call, **facts)


def _read_entries(file) -> dict[str, bytes]:
    with zipfile.ZipFile(file) as archive:
        entries = {info.filename: info for info in archive.infolist()}
        for name in (_METADATA, _PROGRAM, _WEIGHTS):
            if name not in entries:
                raise ValueError(f"it has no {name}")
        # Compressed, a small file could grow beyond all memory.
        if any(info.compress_type != zipfile.ZIP_STORED for info in entries.values()):
            raise ValueError("it is compressed, and artifacts are not")
        if file.stat().st_size > export.MAX_BYTES:
            raise ValueError(f"it has more than {export.MAX_BYTES:,} bytes")
        return {name: archive.read(name) for name in (_METADATA, _PROGRAM, _WEIGHTS)}


def _facts(encoded, file) -> dict:
    """What the metadata say, of the right types."""
    found = json.loads(encoded)
    if found["format"] != _FORMAT:
        raise ValueError(f"it has format {found['format']!r}, and this version reads {_FORMAT}")
    kinds = {"model": str, "options": dict, "class_names": list, "step": int, "compute": str}
    for name, kind in kinds.items():
        if type(found[name]) is not kind:
            raise TypeError(f"{name} is no {kind.__name__}")
    if not all(type(name) is str for name in found["class_names"]):
        raise TypeError("class_names are no texts")
    rejection = found["rejection"]
    if rejection is not None and type(rejection["threshold"]) not in (int, float):
        raise TypeError("the threshold of the rejection is no number")
    return {name: found[name] for name in kinds} | {
        "class_names": tuple(found["class_names"]),
        "preprocessing": make_preprocessing(found["preprocessing"], str(file)),
        "rejection": rejection,
        "jax": str(found["versions"]["jax"])[:20],
    }


def _check_program(exported, weights, facts):
    """Refuses a program that does not take these weights and images, or has other classes."""
    import jax

    (arrays, images), _ = jax.tree.unflatten(exported.in_tree, exported.in_avals)
    wanted = {name: (x.shape, str(x.dtype)) for name, x in arrays.items()}
    if wanted != {name: (x.shape, str(x.dtype)) for name, x in weights.items()}:
        raise ValueError("it takes other weights than those in the file")
    size, classes = facts["preprocessing"].image_size, len(facts["class_names"])
    results = jax.tree.unflatten(exported.out_tree, exported.out_avals)
    if images.shape[1:] != (size, size, 3) or results["logits"].shape[1:] != (classes,):
        raise ValueError("it has other images or classes than the metadata say")
