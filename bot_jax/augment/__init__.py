"""Augmentations, one file each, named as in their papers; they run on the device."""
