"""What certificates say below their numbers: what they hold fixed."""

from collections.abc import Mapping, Sequence
from typing import Any

from captum_certified.certify.conditions import held_fixed

__all__ = ["conditions_of"]


def conditions_of(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """The last lines about all certificates of a command, each once.

    Args:
        records: Certificates as JSON values; failures have none.
    """
    certified = [record for record in records if "error" not in record]
    return list(dict.fromkeys(held_fixed(record["setup"].get("target"), record["stdevs"]) for record in certified))
