"""Losses that train networks whose explanations hold."""

__all__: list[str] = []
