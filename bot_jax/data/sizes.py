"""Data sets that take long to prepare, and how large they are."""

# Name in tensorflow-datasets -> examples of each split, and classes.
KNOWN_SIZES = {
    "imagenet2012": {"train": 1_281_167, "validation": 50_000, "classes": 1000},
    "places365_small": {"train": 1_803_460, "validation": 36_500, "classes": 365},
}
