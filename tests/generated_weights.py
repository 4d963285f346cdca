"""Weights and images that two frameworks make alike, from names, shapes and seeds alone."""

import zlib

import numpy as np


def generated(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The array of a name as another framework has it: float32, the same everywhere.

    Kernels have the size of He's initialisation, so that activations neither vanish nor grow;
    batch norms are far from what they begin with.
    """
    draw = np.random.Generator(np.random.Philox(zlib.crc32(name.encode()))).normal(size=shape)
    if len(shape) > 1:
        draw *= np.sqrt(2 / np.prod(shape[1:]))
    elif name.endswith("running_var"):
        draw = 0.5 + 0.2 * np.abs(draw)
    elif name.endswith(("weight", "gamma")):
        draw = 0.6 + 0.1 * draw
    else:
        draw *= 0.1
    return draw.astype(np.float32)


def generated_for_gluoncv_v1(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The same for resnetN_v1, whose running means and biases have exact differences in float32."""
    array = generated(name, shape)
    coarse = name.endswith((".bias", "running_mean"))
    return np.round(array * 4096) / np.float32(4096) if coarse else array


def images(size: int, number: int = 2) -> np.ndarray:
    """Images [number, size, size + 3, 3], float64: three pixels wider than high."""
    return np.random.Generator(np.random.Philox(size)).normal(size=(number, size, size + 3, 3))


def condensed(name: str, array: np.ndarray) -> float:
    """One number of a channel-wise array that depends on all of it, and on their order."""
    weights = np.random.Generator(np.random.Philox(zlib.crc32(name.encode()) + 1))
    return float(np.float64(array) @ weights.normal(size=array.shape) / np.sqrt(array.size))


def shortened(value):
    """Twelve digits of every number."""
    if isinstance(value, float):
        return float(f"{value:.12g}")
    if isinstance(value, list):
        return [shortened(item) for item in value]
    if isinstance(value, dict):
        return {name: shortened(item) for name, item in value.items()}
    return value
