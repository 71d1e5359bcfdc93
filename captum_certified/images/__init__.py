"""Pictures from files, read with their depth and orientation, framed for a model, and data sets of labelled images.

:mod:`captum_certified.runs` exports the names that are public.
"""
