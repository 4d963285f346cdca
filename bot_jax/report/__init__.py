"""A page about one run or several: `python -m bot_jax.report DIR...`."""
