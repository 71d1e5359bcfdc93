"""Pictures from files, read with their depth and orientation, framed for a model, and data sets of labelled images."""

from captum_certified.images.framing import Framing
from captum_certified.images.labelled_images import labelled_images

__all__ = ["Framing", "labelled_images"]
