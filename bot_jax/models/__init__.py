"""Models: `get_model(name, **options)`; `python -m bot_jax.models` lists them."""

from bot_jax.models.registry import get_model, model_info, model_names, register_model

__all__ = ["get_model", "model_info", "model_names", "register_model"]
