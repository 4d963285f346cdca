"""Weights of other frameworks: their files, and their names for the same arrays."""
