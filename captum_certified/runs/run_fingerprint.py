"""The settings that determine a result, as JSON values, and the differences between two sets of settings."""

import json
import re
from collections.abc import Iterator, Mapping

from captum_certified.attr.request import SamplingRequest
from captum_certified.maps import Regions, Setup
from captum_certified.maps.regions import Mask
from captum_certified.storage import Json, digest

__all__ = ["differences", "sampling_settings"]

_DIGEST = re.compile(r"[0-9a-f]{16,}")


def sampling_settings(setup: Setup, request: SamplingRequest) -> dict[str, Json]:
    """Return all settings that determine the draws of one example, except the seed.

    Versions of packages and the number of draws in a pass are left out. A result stays valid when they change.

    Args:
        setup: The setup of the example's map.
        request: The checked request.
    """
    explained = {name: value for name, value in setup.items() if name not in ("versions", "nt_samples_batch_size")}
    return {
        **explained,
        "device": request.inputs[0].device.type,
        "nt_samples": request.plan.n_samples,
        "stdevs": list(request.plan.stdevs),
        "covariance": request.covariance,
        "region": _region_digest(request.region),
        "check_rows": request.check_rows,
    }


def differences(stored: Json, wanted: Json, name: str = "") -> Iterator[str]:
    """Yield a phrase for every setting that differs.

    Args:
        stored: Settings read from a file, which another version of the package may have written.
        wanted: Settings of this run.
        name: Name of the setting that has the values ``stored`` and ``wanted``; empty if these are whole sets of
            settings.
    """
    if isinstance(stored, dict) and isinstance(wanted, dict):
        for key in sorted(stored.keys() | wanted.keys()):
            yield from differences(stored.get(key), wanted.get(key), key)
    elif json.dumps(stored, sort_keys=True) != json.dumps(wanted, sort_keys=True):  # as text, 1 differs from 1.0
        readable = all(_is_readable(value) for value in (stored, wanted))
        yield f"{name} was {stored!r} and is {wanted!r}" if readable else f"{name} changed"


def _is_readable(value: Json) -> bool:
    return not isinstance(value, (list, dict)) and not (isinstance(value, str) and _DIGEST.fullmatch(value))


def _region_digest(region: Regions) -> str | None:
    if region is None:
        return None
    masks: Mask | dict[str, Mask]
    masks = {str(name): mask for name, mask in region.items()} if isinstance(region, Mapping) else region
    return digest(masks)[:32]
