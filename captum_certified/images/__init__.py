"""Pictures from files: read with their depth and orientation, framed, and as data sets with labels."""

from captum_certified.images.framing import Framing
from captum_certified.images.labelled_images import labelled_images

__all__ = ["Framing", "labelled_images"]
