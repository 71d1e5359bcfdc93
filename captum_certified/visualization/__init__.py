"""Figures of certificates."""
