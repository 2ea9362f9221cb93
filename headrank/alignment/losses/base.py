"""The input of a loss (one list) and the protocol of losses."""

from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

from jaxtyping import Bool, Float, Int
from torch import Tensor

from headrank.alignment.pairs import Pairs, check_finite, check_list


@dataclass(frozen=True, slots=True)
class ListwiseInput:
    """One labelled list in context order, the input of a loss.

    z: [docs], finite passage scores of the model in training, already multiplied by the temperature.
    grades: [docs], 0 or more; unjudged passages have grade 0.
    pairs: the preference pairs of the list, see `mine_pairs`.
    reference: [docs], the scores z of the frozen start model, without gradient; None if no loss needs them.
    targets: [docs], the teacher's scores, of any scale; None: the list has no teacher.

    Raises `ValueError` for NaN or infinite z, reference or targets, negative grades, lengths that differ from that of
    z, and pairs outside the list.
    """

    z: Float[Tensor, " docs"]
    grades: Int[Tensor, " docs"]
    pairs: Pairs
    reference: Float[Tensor, " docs"] | None = None
    targets: Float[Tensor, " docs"] | None = None

    def __post_init__(self):
        check_list(self.z, self.grades)
        docs = len(self.z)
        for name, side in (("better", self.pairs.better), ("worse", self.pairs.worse)):
            if len(side) and not 0 <= int(side.min()) <= int(side.max()) < docs:
                raise ValueError(
                    f"pairs.{name} holds positions {int(side.min())} to {int(side.max())}, expected 0 to {docs - 1}: "
                    "were the pairs mined from another list?"
                )
        for name, scores in (("reference", self.reference), ("targets", self.targets)):
            if scores is None:
                continue
            if scores.shape != self.z.shape:
                raise ValueError(f"{name} scores of shape {tuple(scores.shape)}, expected one per passage, {docs}")
            check_finite(name, scores)


@runtime_checkable
class Loss(Protocol):
    """The interface of a loss: a named function of one candidate list that returns a scalar in the dtype of z.

    For a list without information (without pairs, or with at most one passage) the loss is 0 and its gradients are
    zeros. A loss that is 0 without `ListwiseInput.targets` has the attribute `needs_targets` with the value True.
    """

    name: ClassVar[str]

    @property
    def needs_reference(self) -> bool:
        """Whether the loss needs `ListwiseInput.reference`."""
        ...

    def __call__(self, x: ListwiseInput) -> Float[Tensor, ""]:
        """Return the loss of one candidate list."""
        ...


class NoReference:
    """A base class for losses that do not need the scores of the start model."""

    __slots__ = ()

    @property
    def needs_reference(self) -> bool:
        """Always False: the loss does not need `ListwiseInput.reference`."""
        return False


def attached_zero(z: Float[Tensor, " docs"]) -> Float[Tensor, ""]:
    """Return a loss of 0 whose gradient with respect to z is zeros, for a list without information."""
    return z.sum() * 0


def relevant_passages(grades: Int[Tensor, " docs"], threshold: int | None) -> Bool[Tensor, " docs"]:
    """Return a mask [docs] of the relevant passages.

    Args:
        grades: [docs].
        threshold: the lowest relevant grade. None: only the highest grade of the list is relevant.
    """
    if not len(grades):
        return grades.bool()
    return grades >= (grades.max() if threshold is None else threshold)
