"""Sizes: of the data sets that configurations name, and of an image at most."""

# The default of `config.data.max_image_pixels`, and its largest value: twice
# `PIL.Image.MAX_IMAGE_PIXELS`, beyond which Pillow refuses images. As RGB it is 0.5 GiB.
MAX_PIXELS = 178_956_970

# Name in tensorflow-datasets -> examples of each split, and classes.
KNOWN_SIZES = {
    "cifar10": {"train": 50_000, "test": 10_000, "classes": 10},
    "imagenet2012": {"train": 1_281_167, "validation": 50_000, "classes": 1000},
    "places365_small": {"train": 1_803_460, "validation": 36_500, "classes": 365},
}
