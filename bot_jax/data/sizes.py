"""Data sets that take long to prepare, and how large they are."""

# Name in tensorflow-datasets -> examples to train on, classes.
KNOWN_SIZES = {"imagenet2012": (1_281_167, 1000), "places365_small": (1_803_460, 365)}
