"""Losses and targets, one file each."""
