"""Labels that are no class."""

UNREADABLE = -1  # the image could not be read, or fills up a batch: it counts in nothing
UNLABELLED = -2  # the image has no label: only a teacher can say what is in it
