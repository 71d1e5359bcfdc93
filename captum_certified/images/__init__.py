"""Pictures from files with their bit depth and orientation, framed for a model, and data sets of labelled images.

:mod:`captum_certified.runs` exports the public names.
"""
