"""What an experiment is: parts that can be computed in any order and by anyone, and what is made of them all."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from matplotlib.figure import Figure

from captum_certified.reproduce.material import Material

__all__ = ["Experiment", "Part", "Row", "Scale"]

Row = dict[str, Any]
Scale = Literal["smoke", "cpu", "paper"]


@dataclass(frozen=True)
class Part:
    """Something that is computed by itself, and never twice.

    Attributes:
        name: A file name without suffix, unique in the experiment.
        compute: Returns the rows of the part: flat JSON values.
        about: What the rows depend on beside settings and network: the digest of an image.
        settings: What of the experiment's settings they depend on; ``None``: all, and the scale.
    """

    name: str
    compute: Callable[[], Sequence[Row]]
    about: str = ""
    settings: Mapping[str, Any] | None = None


class Experiment(ABC):
    """One figure or table of the paper, or one of ours beside it.

    Attributes:
        name: What it is called on the command line.
        store: Whose parts it uses; experiments of one store share their parts.
        uses: What of the material it uses beside photographs: ``"mnist"``, ``"cifar"``, ``"network"``.
        default_model: Name of the torchvision model it is made with where none is named.
        title: What it shows, in a line.
        claim: What the paper says about it.
    """

    name: str
    store: str = ""
    uses: tuple[str, ...] = ()
    default_model: str | None = None
    title: str
    claim: str

    @abstractmethod
    def settings(self, scale: Scale) -> Mapping[str, Any]:
        """Sizes and hyperparameters, JSON values."""

    @abstractmethod
    def parts(self, material: Material, scale: Scale) -> Sequence[Part]:
        """Everything that is to be computed."""

    def own(self, rows: Sequence[Row]) -> list[Row]:
        """The rows of its parts that it shows, each once; what is below is made of these."""
        return list(rows)

    @abstractmethod
    def summary(self, rows: Sequence[Row]) -> dict[str, Any]:
        """The numbers that answer the claim, JSON values."""

    @abstractmethod
    def figure(self, rows: Sequence[Row]) -> Figure:
        """The picture."""
