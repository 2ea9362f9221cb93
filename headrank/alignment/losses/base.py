"""What a loss sees of one list, and what a loss is."""

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
    reference: z of the frozen start model, where a loss needs it. No gradient flows into it.

    Raises `ValueError` for NaN or infinite z or reference, negative grades, grades or reference of another number than
    z, and pairs that point outside of the list.
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
    """What a loss is: a function of one list, in z's dtype, with its name and whether it needs the start model.

    A list that says nothing to a loss (no pairs, one passage, none at all) costs 0, and backward() gives zeros.
    """

    name: ClassVar[str]

    @property
    def needs_reference(self) -> bool:
        """Whether `ListwiseInput.reference` has to be there."""
        ...

    def __call__(self, x: ListwiseInput) -> Float[Tensor, ""]:
        """The loss of one list."""
        ...


class NoReference:
    """A loss of the list alone, which needs no start model."""

    __slots__ = ()

    @property
    def needs_reference(self) -> bool:
        """False."""
        return False


def nothing(z: Float[Tensor, " docs"]) -> Float[Tensor, ""]:
    """0 with a graph, so that backward() works: the loss of a list that says nothing."""
    return z.sum() * 0


def relevant_passages(grades: Int[Tensor, " docs"], threshold: int | None) -> Bool[Tensor, " docs"]:
    """True from the threshold on; without one, at the highest grade of the list."""
    if not len(grades):
        return grades.bool()
    return grades >= (grades.max() if threshold is None else threshold)
