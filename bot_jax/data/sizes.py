"""Data sets that configurations name, and how large they are."""

# Name in tensorflow-datasets -> examples of each split, and classes.
KNOWN_SIZES = {
    "cifar10": {"train": 50_000, "test": 10_000, "classes": 10},
    "imagenet2012": {"train": 1_281_167, "validation": 50_000, "classes": 1000},
    "places365_small": {"train": 1_803_460, "validation": 36_500, "classes": 365},
}
