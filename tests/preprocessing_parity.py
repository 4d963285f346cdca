"""The evaluation's pixels here and in Pillow, torchvision and OpenCV, and what a difference costs.

    python tests/preprocessing_parity.py RUN DIR [--each 10]    the tables of docs/parity.md

RUN is a finished run. DIR has CLASS/, of which the first ten images each are taken (--each). Needs
torchvision and opencv-python-headless. The first table compares pixels with the option here that
comes nearest, of the same decoded images; the second one has the predictions of RUN.
"""

import argparse
import functools
from pathlib import Path

import cv2
import jax
import numpy as np
import torch
from PIL import Image
from torchvision.transforms import v2

from bot_jax.classifier import load_classifier
from bot_jax.data.crop import resize_and_center_crop
from bot_jax.data.decode import decode_window, image_size
from bot_jax.data.tensorflow_cpu import tf

SIZES = ((224, 256), (64, 74))  # of the model's input, of the shorter side before the crop
MODES = {
    "bilinear": (v2.InterpolationMode.BILINEAR, Image.Resampling.BILINEAR, cv2.INTER_LINEAR),
    "bicubic": (v2.InterpolationMode.BICUBIC, Image.Resampling.BICUBIC, cv2.INTER_CUBIC),
}


def decoded_here(encoded):
    size = image_size(encoded, apply_exif_orientation=False)
    return decode_window(encoded, tf.concat([[0, 0], size], 0)).numpy()


def here(image, size, side, *, interpolation, antialias):
    return resize_and_center_crop(
        image, size, eval_resize=side, interpolation=interpolation, antialias=antialias
    ).numpy()


def torchvision_pillow(image, size, side, *, interpolation):
    transform = v2.Compose([v2.Resize(side, MODES[interpolation][0]), v2.CenterCrop(size)])
    return np.asarray(transform(Image.fromarray(image)))


def torchvision_tensor(image, size, side, *, interpolation, antialias):
    transform = v2.Compose(
        [v2.Resize(side, MODES[interpolation][0], antialias=antialias), v2.CenterCrop(size)]
    )
    return transform(torch.tensor(image).permute(2, 0, 1)).permute(1, 2, 0).numpy()


def _central(resized, size):
    top, left = (round((side - size) / 2) for side in resized.shape[:2])
    return resized[top : top + size, left : left + size]


def _resized_size(image, side):
    """Height and width with a shorter side of `side`."""
    height, width = image.shape[:2]
    return side * height // min(height, width), side * width // min(height, width)


def pillow(image, size, side, *, resampling):
    height, width = _resized_size(image, side)
    resized = Image.fromarray(image).resize((width, height), resampling)
    return _central(np.asarray(resized), size)


def opencv(image, size, side, *, interpolation):
    height, width = _resized_size(image, side)
    return _central(cv2.resize(image, (width, height), interpolation=interpolation), size)


def ways():
    """Name -> the function, and the name of the one here that comes nearest."""
    found = {}
    for interpolation, (_, resampling, of_opencv) in MODES.items():
        soft, sharp = f"here: {interpolation}, antialias", f"here: {interpolation}"
        one = {"interpolation": interpolation}
        for name, antialias in ((soft, True), (sharp, False)):
            found[name] = functools.partial(here, antialias=antialias, **one), name
        found[f"Pillow: {interpolation}"] = functools.partial(pillow, resampling=resampling), soft
        found[f"torchvision, Pillow images: {interpolation}"] = (
            functools.partial(torchvision_pillow, **one),
            soft,
        )
        for name, nearest, antialias in ((", antialias", soft, True), ("", sharp, False)):
            found[f"torchvision, tensors: {interpolation}{name}"] = (
                functools.partial(torchvision_tensor, antialias=antialias, **one),
                nearest,
            )
        found[f"OpenCV: {interpolation}"] = (
            functools.partial(opencv, interpolation=of_opencv),
            sharp,
        )
    soft = "here: bicubic, antialias"
    found["Pillow: lanczos"] = functools.partial(pillow, resampling=Image.Resampling.LANCZOS), soft
    soft = "here: bilinear, antialias"
    found["OpenCV: area"] = functools.partial(opencv, interpolation=cv2.INTER_AREA), soft
    found["Pillow: nearest"] = (
        functools.partial(pillow, resampling=Image.Resampling.NEAREST),
        "here: bilinear",
    )
    return found


def photographs(folder, each):
    """The first images of each class as Pillow decodes them, their bytes, and their labels."""
    classes = sorted(p for p in folder.iterdir() if p.is_dir())
    files = [(p, label) for label, c in enumerate(classes) for p in sorted(c.iterdir())[:each]]
    images = [np.asarray(Image.open(path).convert("RGB")) for path, _ in files]
    return images, [path.read_bytes() for path, _ in files], np.array([label for _, label in files])


def row(name, *cells):
    print(f"| {name} | {' | '.join(cells)} |", flush=True)


def differences(a, b):
    return np.abs(np.asarray(a, np.int32) - np.asarray(b, np.int32))


def pixel_table(images, size, side):
    """Prints how far pixels are from the nearest here."""
    found = ways()
    views = {name: [way(i, size, side) for i in images] for name, (way, _) in found.items()}
    for name, (_, nearest) in found.items():
        if name != nearest:
            levels = differences(views[name], views[nearest])
            shares = (f"{100 * np.mean(levels > limit):.2f} %" for limit in (0, 1, 8))
            numbers = f"{levels.mean():.3f}", str(levels.max())
            row(name, nearest.removeprefix("here: "), f"{size}", *numbers, *shares)


def prediction_table(model, images, labels):
    """Prints what becomes of the predictions of a model whose images are prepared otherwise."""
    view = model.preprocessing
    apply = jax.jit(model.apply)

    def probabilities(way):
        batch = np.stack([way(i, view.image_size, view.eval_resize) for i in images])
        return np.asarray(apply(model.weights, batch)["probabilities"])

    own = functools.partial(here, interpolation=view.interpolation, antialias=view.antialias)
    expected = probabilities(own)
    for name, (way, _) in ways().items():
        found = probabilities(way)
        changed = found.argmax(-1) != expected.argmax(-1)
        row(
            name,
            f"{np.mean(changed):.1%}",
            f"{np.mean(found.argmax(-1) == labels):.1%}",
            f"{np.abs(found - expected).max(-1).mean():.4f}",
            f"{np.abs(found - expected).max():.4f}",
        )


def decoder_table(images, encoded):
    """Prints how far decoded pixels are from Pillow's."""
    decoded = [decoded_here(data) for data in encoded]
    opencv_decoded = [
        cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB) for data in encoded
    ]
    for name, those in (("here", decoded), ("OpenCV", opencv_decoded)):
        levels = np.concatenate(
            [differences(a, b).ravel() for a, b in zip(those, images, strict=True)]
        )
        row(name, f"{levels.mean():.3f}", str(levels.max()), f"{100 * np.mean(levels > 0):.2f} %")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--each", type=int, default=10)
    arguments = parser.parse_args()
    images, encoded, labels = photographs(arguments.folder, arguments.each)
    print(f"{len(images)} photographs\n")
    decoder_table(images, encoded)
    print()
    for size, side in SIZES:
        pixel_table(images, size, side)
    print()
    prediction_table(load_classifier(arguments.run), images, labels)


if __name__ == "__main__":
    main()
