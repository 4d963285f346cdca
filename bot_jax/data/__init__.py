"""Data: from files on disk to uint8 batches on the host (`pipeline.py` is the way in)."""
