"""Attacks on explanations that slot into captum.robust."""

__all__: list[str] = []
