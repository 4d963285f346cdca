"""Which part of an image is seen: random resized crop, and the evaluation crop.

Source: the paper, section 2.1, step 2 of training and the validation procedure. Every
random function takes uniform random numbers and is a pure function of them.

A *window* is ``[top, left, height, width]``, int32 [4], in pixels of the decoded image.
"""

import math

from bot_jax.data.tensorflow_cpu import tf

ATTEMPTS = 10
WINDOW_DRAWS = 5 * ATTEMPTS  # random numbers that `sample_windows` wants
# Pixels of a small window, in pixels of the result.
_SMALL = 3


def sample_windows(height, width, draws, *, flavor, area, aspect_ratio, image_size):
    """Windows of random resized crops of n images.

    Ten candidates are drawn at once and the first that fits into the image is taken. Each has a
    fraction of the image's area drawn from U(area), an aspect ratio r = width / height, and a
    position uniform over all that fit:

      paper: log r ~ U(log aspect_ratio). Where none fits, the central window of the image's own
        aspect ratio, limited to `aspect_ratio`. (The common reading of the paper.)
      gluoncv: r ~ U(aspect_ratio), then r becomes 1 / r with probability 1/2. Where none fits,
        the central square of `image_size` pixels at native resolution, or the largest square of
        a smaller image. (The authors' released code.)

    Args:
      height, width: int32 [n], pixels.
      draws: float32 [n, WINDOW_DRAWS], uniform in [0, 1).
      flavor: "paper" or "gluoncv".
      area: (low, high), fractions of the image's area; the paper's are (0.08, 1).
      aspect_ratio: (low, high), width / height; the paper's are (3/4, 4/3).
      image_size: pixels of the model's input.

    Returns:
      int32 [n, 4].
    """
    if flavor == "paper":
        fallback = _central_windows_within(height, width, aspect_ratio)
    else:
        side = tf.minimum(image_size, tf.minimum(height, width))
        fallback = tf.stack([(height - side) // 2, (width - side) // 2, side, side], axis=1)
    height, width = height[:, tf.newaxis], width[:, tf.newaxis]
    height_f, width_f = tf.cast(height, tf.float32), tf.cast(width, tf.float32)
    draws = tf.unstack(tf.reshape(draws, [-1, 5, ATTEMPTS]), axis=1)
    candidate_area = height_f * width_f * _between(draws[0], area)
    if flavor == "paper":
        log_ratio = _between(draws[1], [math.log(r) for r in aspect_ratio])
        # Rounded from float64: in float32 the last bit depends on what else is computed at once.
        ratio = tf.cast(tf.exp(tf.cast(log_ratio, tf.float64)), tf.float32)
    else:
        ratio = _between(draws[1], aspect_ratio)
        ratio = tf.where(draws[4] < 0.5, ratio, 1 / ratio)
    box_width = tf.cast(tf.round(tf.sqrt(candidate_area * ratio)), tf.int32)
    box_height = tf.cast(tf.round(tf.sqrt(candidate_area / ratio)), tf.int32)
    fits = (box_width > 0) & (box_width <= width) & (box_height > 0) & (box_height <= height)
    candidates = tf.stack(
        [
            _offset(draws[2], height - box_height),
            _offset(draws[3], width - box_width),
            box_height,
            box_width,
        ],
        axis=2,
    )
    first = tf.gather(candidates, tf.argmax(fits, axis=1), batch_dims=1)
    return tf.where(tf.reduce_any(fits, axis=1, keepdims=True), first, fallback)


def whole_images(height, width):
    """The windows, int32 [n, 4], that are all of n images."""
    nothing = tf.zeros_like(height)
    return tf.stack([nothing, nothing, height, width], axis=1)


def _between(uniform, limits):
    low, high = limits
    return low + (high - low) * uniform


def _offset(uniform, room):
    """Uniform integer in 0..room; the minimum guards against a product that rounds up."""
    drawn = tf.cast(uniform * tf.cast(room + 1, tf.float32), tf.int32)
    return tf.minimum(drawn, room)


def _central_windows_within(height, width, aspect_ratio):
    """Largest central windows, int32 [n, 4], whose width / height lies within `aspect_ratio`."""
    low, high = aspect_ratio
    height_f, width_f = tf.cast(height, tf.float32), tf.cast(width, tf.float32)
    box_height = tf.minimum(height, tf.cast(tf.round(width_f / low), tf.int32))
    box_width = tf.minimum(width, tf.cast(tf.round(height_f * high), tf.int32))
    # The image one pixel wide or high still has a window of one pixel.
    box_height, box_width = tf.maximum(box_height, 1), tf.maximum(box_width, 1)
    top, left = (height - box_height) // 2, (width - box_width) // 2
    return tf.stack([top, left, box_height, box_width], axis=1)


def resize(image, image_size: int, *, interpolation: str, antialias: bool):
    """Resizes uint8 [h, w, 3] to uint8 [image_size, image_size, 3].

    Pixel centres are at half-integers. Without `antialias` each output pixel looks at 2x2
    (bilinear) or 4x4 (bicubic) input pixels, as OpenCV does; with it, at all that it covers, as
    Pillow does.
    """

    def resized(image):
        size = (image_size, image_size)
        return tf.image.resize(image, size, method=interpolation, antialias=antialias)

    if interpolation != "bilinear" or antialias:
        return _to_uint8(resized(image), interpolation)
    # TensorFlow is faster with floats, and has the same results, but to make floats of a large
    # window takes longer than that saves.
    is_small = tf.size(image) <= 3 * _SMALL * image_size**2
    image = tf.cond(is_small, lambda: resized(tf.cast(image, tf.float32)), lambda: resized(image))
    return _to_uint8(image, interpolation)


def default_eval_resize(image_size: int) -> int:
    """Shorter side before the centre crop: ceil(image_size / 0.875); 256 for 224, 342 for 299."""
    return math.ceil(image_size / 0.875)


def resize_and_center_crop(
    image, image_size: int, *, eval_resize: int, interpolation: str, antialias: bool
):
    """The evaluation view: shorter side to `eval_resize`, then the central square.

    The longer side becomes ``floor(eval_resize * longer / shorter)`` and the square starts at
    ``round((side - image_size) / 2)``, halves to the even number: torchvision's rounding. One
    operation computes only the pixels of the square; they are those of resizing everything and
    then cropping, and a 4000x8 image does not become one of 128000x256.

    Args:
      image: uint8 [h, w, 3].
      image_size: pixels; at most `eval_resize`.
      eval_resize: pixels.
      interpolation, antialias: as in `resize`.

    Returns:
      uint8 [image_size, image_size, 3].
    """
    source_size = tf.shape(image)[:2]
    resized_size = eval_resize * source_size // tf.reduce_min(source_size)
    start = tf.round(tf.cast(resized_size - image_size, tf.float32) / 2)
    cropped = tf.raw_ops.ScaleAndTranslate(
        images=image[tf.newaxis],
        size=[image_size, image_size],
        scale=tf.cast(resized_size, tf.float32) / tf.cast(source_size, tf.float32),
        translation=-start,
        kernel_type={"bilinear": "triangle", "bicubic": "keyscubic"}[interpolation],
        antialias=antialias,
    )
    return _to_uint8(cropped[0], interpolation)


def _to_uint8(image, interpolation):
    image = tf.round(image)
    if interpolation != "bilinear":  # which is a mean, and stays between 0 and 255
        image = tf.clip_by_value(image, 0, 255)
    return tf.cast(image, tf.uint8)
