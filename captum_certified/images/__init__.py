"""Read pictures of any bit depth and orientation, resize and crop them for a model, and load labelled images.

:mod:`captum_certified.runs` exports the public names.
"""
