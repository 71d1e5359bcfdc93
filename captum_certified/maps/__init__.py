"""The smoothed map: its fields, how maps are combined, and how they are stored.

A smoothed map is the mean of the maps of many draws. A *draw* is one noisy copy of the input and the map computed from
it. A *feature* is one entry of the map, or one group of entries. A *row* of a table is one example of the batch.
"""

from captum_certified.maps.combining import difference_in_limits, same_behaviour, select_rows
from captum_certified.maps.covariance import CovarianceSummary
from captum_certified.maps.feature_layout import FeatureLayout, Groups
from captum_certified.maps.map_data import Maps
from captum_certified.maps.map_file import from_parts, parts_of
from captum_certified.maps.provenance import Setup, setup_of_rows
from captum_certified.maps.regions import Regions, region_masks
from captum_certified.maps.smoothed_map import SmoothedMap

__all__ = [
    "CovarianceSummary",
    "FeatureLayout",
    "Groups",
    "Maps",
    "Regions",
    "Setup",
    "SmoothedMap",
    "difference_in_limits",
    "from_parts",
    "parts_of",
    "region_masks",
    "same_behaviour",
    "select_rows",
    "setup_of_rows",
]
