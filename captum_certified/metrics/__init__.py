"""Similarity of two maps, and the robustness of an explanation under a perturbation."""

__all__: list[str] = []
