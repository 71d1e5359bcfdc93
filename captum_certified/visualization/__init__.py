"""Figures of certificates, in the manner of :mod:`captum.attr.visualization`."""

from captum_certified.visualization.figure import certificate_figure

__all__ = ["certificate_figure"]
