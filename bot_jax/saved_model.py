"""A model as a SavedModel: a folder that TensorFlow runs, and TensorFlow Serving, without JAX.

It holds the programs of artifact.py, by `jax.experimental.jax2tf`, under two signatures:

    serving_default    images uint8 [batch, image_size, image_size, 3]
    any_size           images uint8 [batch, height, width, 3], resized and cropped inside

Both return logits and probabilities, float32 [batch, classes]. The weights are variables, and
assets.extra/metadata.json is that of an artifact.
"""

import json
import os
import shutil
from pathlib import Path

from bot_jax.artifact import PLATFORMS, metadata
from bot_jax.classifier import Classifier
from bot_jax.errors import InputError
from bot_jax.preprocessing import resize_and_center_crop


def write_saved_model(folder: Path, classifier: Classifier) -> None:
    """Writes a new folder, at once.

    Raises:
      InputError: there is something already.
      OSError: it cannot be written.
    """
    from bot_jax.data.tensorflow_cpu import tf

    if os.path.lexists(folder):
        raise InputError(f"{folder} is there already. Name a new folder.")

    def from_any_size(weights, images):
        return classifier.apply(weights, resize_and_center_crop(images, classifier.preprocessing))

    size = classifier.preprocessing.image_size
    module = tf.Module()
    module.weights = {
        name: tf.Variable(x, trainable=False, name=name) for name, x in classifier.weights.items()
    }
    module.predict = _convert(classifier.apply, module.weights, size, f"(batch, {size}, {size}, 3)")
    module.any_size = _convert(from_any_size, module.weights, None, "(batch, height, width, 3)")
    signatures = {"serving_default": module.predict, "any_size": module.any_size}
    temporary = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    extra = temporary / "assets.extra"
    extra.mkdir(parents=True)
    try:
        tf.saved_model.save(module, os.fspath(temporary), signatures=signatures)
    except tf.errors.OpError as error:
        raise OSError(error.message) from error
    (extra / "metadata.json").write_text(json.dumps(metadata(classifier), indent=2))
    os.replace(temporary, folder)


def _convert(function, weights, side, shape):
    """A TensorFlow function of images alone; `shape` in the notation of shape polymorphism."""
    from jax.experimental import jax2tf

    from bot_jax.data.tensorflow_cpu import tf

    converted = jax2tf.convert(
        function,
        polymorphic_shapes=[None, shape],
        with_gradient=False,
        native_serialization_platforms=PLATFORMS,
    )
    images = tf.TensorSpec([None, side, side, 3], tf.uint8, name="images")
    return tf.function(
        lambda images: converted(weights, images), autograph=False, input_signature=[images]
    )
