"""The input of a loss (one list) and the protocol of losses."""

from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

from jaxtyping import Bool, Float, Int
from torch import Tensor

from headrank.alignment.pairs import Pairs, check_finite, check_list


@dataclass(frozen=True, slots=True)
class ListwiseInput:
    """One labelled list in context order.

    z: the scores of the model in training, finite, already multiplied by the temperature.
    grades: 0 or more, unjudged passages 0.
    pairs: the list's preference pairs, `mine_pairs`.
    reference: z of the frozen start model, if a loss needs it. No gradient flows into it.

    Raises `ValueError` for NaN or infinite z or reference, negative grades, numbers of grades or reference scores other
    than that of z, and pairs outside the list.
    """

    z: Float[Tensor, " docs"]
    grades: Int[Tensor, " docs"]
    pairs: Pairs
    reference: Float[Tensor, " docs"] | None = None

    def __post_init__(self):
        check_list(self.z, self.grades)
        docs = len(self.z)
        for name, side in (("better", self.pairs.better), ("worse", self.pairs.worse)):
            if len(side) and not 0 <= int(side.min()) <= int(side.max()) < docs:
                raise ValueError(
                    f"pairs.{name} holds positions {int(side.min())} to {int(side.max())}, expected 0 to {docs - 1}: "
                    "were the pairs mined from another list?"
                )
        if self.reference is not None:
            if self.reference.shape != self.z.shape:
                raise ValueError(
                    f"reference scores of shape {tuple(self.reference.shape)}, expected one per passage, {docs}"
                )
            check_finite("reference", self.reference)


@runtime_checkable
class Loss(Protocol):
    """A loss: a function of one list in z's dtype, with a name.

    A list without information for the loss (no pairs, at most one passage) costs 0, and backward() gives zeros.
    """

    name: ClassVar[str]

    @property
    def needs_reference(self) -> bool:
        """Whether the loss needs `ListwiseInput.reference`."""
        ...

    def __call__(self, x: ListwiseInput) -> Float[Tensor, ""]:
        """The loss of one list."""
        ...


class NoReference:
    """A loss that needs no start model."""

    __slots__ = ()

    @property
    def needs_reference(self) -> bool:
        """False."""
        return False


def attached_zero(z: Float[Tensor, " docs"]) -> Float[Tensor, ""]:
    """0, attached to the graph of z so that backward() gives zeros: the loss of a list without information."""
    return z.sum() * 0


def relevant_passages(grades: Int[Tensor, " docs"], threshold: int | None) -> Bool[Tensor, " docs"]:
    """True for grades from the threshold on; without a threshold, for the highest grade of the list."""
    if not len(grades):
        return grades.bool()
    return grades >= (grades.max() if threshold is None else threshold)
