"""Bag of Tricks for Image Classification with Convolutional Neural Networks, in JAX."""

__version__ = "0.1.0"
