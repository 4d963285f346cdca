"""Damaged images for test_fuzz_images.py, which runs this in a process of its own.

    python tests/fuzz_images.py --cases 20000

Case i is a function of i alone: an image of some format, mutated. Every case goes through the real
path of a batch (`load_batch` and `repair`) and through `decode_with_pillow`. The last line that is
printed is JSON with what came out. A decoder that crashes ends the process, which may not take more
memory than `--memory` MiB above what it has after its imports.
"""

import argparse
import faulthandler
import io
import json
import resource
import struct
import sys
import time
import warnings
import zlib
from types import SimpleNamespace

import numpy as np
from PIL import Image

MAX_PIXELS = 1_000_000
SIZE = 16
BATCH = 64
HEIGHT, WIDTH = 24, 33
# Numbers that programs get wrong.
NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF)
NUMBERS += (0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)


def seeds() -> list[bytes]:
    """A small image in every format that is read, and in the variants of each."""
    noise = np.random.default_rng(0).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    rgb = Image.fromarray(noise).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    rgba, grey = rgb.copy(), rgb.convert("L")
    rgba.putalpha(grey)
    exif = Image.Exif()
    exif[0x0112] = 6
    frames = {"save_all": True, "append_images": [rgb.rotate(180), rgb.rotate(90)]}
    texts = {"exif": exif, "icc_profile": bytes(range(256)) * 2}
    files = [
        *(("JPEG", rgb, o) for o in ({}, {"progressive": True}, {"subsampling": 0}, texts)),
        *(("JPEG", image, {}) for image in (grey, rgb.convert("CMYK"))),
        ("JPEG", rgb, {"restart_marker_blocks": 1}),
        *(("PNG", image, {}) for image in (rgb, rgba, grey, grey.convert("1"), rgb.quantize(9))),
        *(("PNG", image, {}) for image in (grey.convert("LA"), grey.convert("I;16"))),
        *(("PNG", rgb, options) for options in (texts, frames)),
        *(("GIF", rgb.quantize(50), options) for options in ({}, {"interlace": 0}, frames)),
        *(("BMP", image, {}) for image in (rgb, rgba, grey, rgb.quantize(9))),
        *(("WEBP", rgb, o) for o in ({}, {"lossless": True}, texts, frames)),
        *(("WEBP", rgba, options) for options in ({}, {"lossless": True})),
        *(("TIFF", image, {}) for image in (rgb, grey, rgb.convert("CMYK"), rgb.quantize(9))),
        *(("TIFF", rgb, {"compression": c}) for c in ("tiff_lzw", "tiff_adobe_deflate", "jpeg")),
        *(("TIFF", rgb, o) for o in ({"compression": "packbits"}, {"exif": exif}, frames)),
        *(("PPM", image, {}) for image in (rgb, grey, grey.convert("1"))),
        ("MPO", rgb, frames),
    ]
    if "AVIF" in Image.SAVE:
        files.append(("AVIF", rgb, {}))
    return [_encode(*file) for file in files]


def _encode(kind, image, options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def mutated(case: int, files: list[bytes]) -> bytes:
    """The file of a case."""
    rng = np.random.default_rng(case)
    data = bytearray(files[case % len(files)])
    for _ in range(rng.choice([1, 2, 3], p=[0.7, 0.2, 0.1])):
        how = _MUTATIONS[rng.integers(len(_MUTATIONS))]
        data = how(rng, data, files) or data
    if data[:4] == b"\x89PNG" and rng.random() < 0.7:
        data = _with_checksums(data)
    return bytes(data)


def _flip(rng, data, files):
    for position in rng.integers(len(data), size=rng.integers(1, 9)):
        data[position] ^= 1 << rng.integers(8)


def _cut(rng, data, files):
    return data[: rng.integers(len(data)) + 1]


def _splice(rng, data, files):
    other = files[rng.integers(len(files))]
    return data[: rng.integers(len(data)) + 1] + other[rng.integers(len(other)) :]


def _duplicate(rng, data, files):
    first, last = np.sort(rng.integers(len(data), size=2))
    part = data[first : min(last, first + 2000) + 1] * int(rng.integers(1, 20))
    where = rng.integers(len(data))
    return data[:where] + part + data[where:]


def _remove(rng, data, files):
    first = rng.integers(len(data))
    return data[:first] + data[first + rng.integers(1, 40) :]


def _overwrite(rng, data, files):
    """Puts a number into the first bytes, or anywhere, in either byte order."""
    number = NUMBERS[rng.integers(len(NUMBERS))]
    kind = "<>"[rng.integers(2)] + "BHI"[rng.integers(3)]
    value = struct.pack(kind, number % 256 ** struct.calcsize(kind))
    where = rng.integers(min(len(data), 64) if rng.random() < 0.7 else len(data))
    data[where : where + len(value)] = value


def _size(rng, data, files):
    """Declares another size, in the way of the format, where it is easily found."""
    sides = [int(rng.choice([0, 1, 999, 1001, 16384, 65535])) for _ in range(2)]
    if data[:2] == b"\xff\xd8":
        where, kind = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2")) + 5, ">HH"
    elif data[:4] == b"\x89PNG":
        where, kind = 16, ">II"
    elif data[:3] == b"GIF":
        where, kind = 6, "<HH"
    elif data[:2] == b"BM":
        where, kind = 18, "<ii"
    elif data[:4] == b"RIFF":
        where, kind = {b"VP8 ": 26, b"VP8L": 21}.get(bytes(data[12:16]), 24), "<HH"
    else:
        return
    data[where : where + struct.calcsize(kind)] = struct.pack(kind, *sides)


_MUTATIONS = (_flip, _cut, _splice, _duplicate, _remove, _overwrite, _size)


def _with_checksums(data):
    """A PNG whose chunks have right checksums again, so that a decoder reads on."""
    position = 8
    while position + 12 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        end = position + 8 + length
        if end + 4 > len(data):
            break
        checksum = zlib.crc32(data[position + 4 : end])
        data[end : end + 4] = checksum.to_bytes(4, "big")
        position = end + 4
    return data


def run(first: int, files: list[bytes], found: dict) -> None:
    """Runs some cases, the first of which has the number `first`, and counts in `found`."""
    from bot_jax.data import crop, decode, load
    from bot_jax.data.tensorflow_cpu import as_written, tf

    options = {"apply_exif_orientation": True, "max_pixels": MAX_PIXELS}
    source = SimpleNamespace(read=None)
    draws = tf.constant(np.random.default_rng(first).random(crop.WINDOW_DRAWS, np.float32))

    def choose_windows(height, width, draws):
        crop_options = {"area": (0.08, 1.0), "aspect_ratio": (3 / 4, 4 / 3), "image_size": SIZE}
        return crop.sample_windows(height, width, draws, flavor="paper", **crop_options)

    def finish(window):
        return crop.resize(window, SIZE, interpolation="bilinear", antialias=False)

    @as_written
    def load_all(samples):
        samples["index"] = tf.ensure_shape(samples["index"], [BATCH])
        all_draws = tf.tile(draws[tf.newaxis], [BATCH, 1])
        return load.load_batch(
            samples, all_draws, source, choose_windows, finish, image_size=SIZE, **options
        )

    def view(image, sample_id):
        size = tf.constant(image.shape[:2])[tf.newaxis]
        windows = choose_windows(size[:, 0], size[:, 1], draws[tf.newaxis])
        return finish(decode.cut(image, windows[0]))

    numbers = np.arange(first, first + len(files))
    samples = {"index": numbers, "sample_id": numbers, "label": np.full(len(files), 7, np.int32)}
    samples["encoded"] = np.array(files, object)
    batches = tf.data.Dataset.from_tensor_slices(samples).batch(BATCH, drop_remainder=True)
    for batch in batches.map(load_all).as_numpy_iterator():
        batch = {name: np.array(value) for name, value in batch.items()}
        found["decoded by TensorFlow"] += int((~batch["missing"]).sum())
        reasons = load.repair(batch, source, view, **options)
        bad = np.isin(np.arange(BATCH), list(reasons))
        assert all(reasons.values()), f"no reason, from case {batch['index'][0]}"
        assert batch["image"].shape == (BATCH, SIZE, SIZE, 3)
        assert batch["image"].dtype == np.uint8
        np.testing.assert_array_equal(batch["label"], np.where(bad, -1, 7))
        assert not batch["image"][bad].any()
        found["refused"] += len(reasons)
        found["cases"] += BATCH


def run_pillow(case: int, encoded: bytes, found: dict) -> None:
    """Decodes one case with Pillow alone."""
    from bot_jax.data.decode import decode_with_pillow

    began = time.perf_counter()
    image, reason = decode_with_pillow(encoded, case % 2 == 0, MAX_PIXELS)
    seconds = time.perf_counter() - began
    found["slowest"] = max(found["slowest"], [round(seconds, 3), case])
    if reason:
        assert image is None, case
    else:
        height, width, channels = image.shape
        assert image.dtype == np.uint8, case
        assert channels == 3, case
        assert 1 <= height * width <= MAX_PIXELS, case
        found["decoded by Pillow alone"] += 1


def memory() -> int:
    """The most memory that was used, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def limit_memory(mebibytes: int) -> None:
    """Lets the address space grow by so much and no more."""
    with open("/proc/self/statm") as stream:
        now = int(stream.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + mebibytes * 2**20,) * 2)


def main() -> None:
    """Runs the cases."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--memory", type=int, default=2048, help="MiB")
    parser.add_argument("--seconds", type=int, default=60, help="for 1,024 cases, then it hangs")
    flags = parser.parse_args()
    warnings.simplefilter("ignore")
    sys.path.insert(0, ".")
    good, began, chunk = seeds(), time.perf_counter(), 1024
    found = dict.fromkeys(("cases", "decoded by TensorFlow", "refused"), 0)
    found |= {"decoded by Pillow alone": 0, "slowest": [0.0, -1]}
    whole = dict(found)
    warm_up = (good * BATCH)[: -(-len(good) // BATCH) * BATCH]
    run(0, warm_up, whole)
    assert whole["refused"] == 0  # undamaged images are read
    before = memory()
    limit_memory(flags.memory)
    for first in range(flags.first, flags.first + flags.cases, chunk):
        faulthandler.dump_traceback_later(flags.seconds, exit=True)
        print(f"cases from {first}", flush=True)
        count = min(chunk, flags.first + flags.cases - first)
        count = -(-count // BATCH) * BATCH
        files = [mutated(case, good) for case in range(first, first + count)]
        for case, encoded in enumerate(files, start=first):
            run_pillow(case, encoded, found)
        run(first, files, found)
    faulthandler.cancel_dump_traceback_later()
    found |= {"memory": memory() - before, "seconds": round(time.perf_counter() - began, 1)}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
