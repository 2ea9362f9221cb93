"""A list of scores and grades with its pairs, as losses take them."""

import torch

from headrank.alignment import (
    ListwiseInput,
    PairSettings,
    mine_pairs,
)


def listing(z, grades, reference=None, **options):
    z = torch.tensor(z, dtype=torch.float64) if isinstance(z, list) else z
    grades = torch.tensor(grades, dtype=torch.long) if isinstance(grades, list) else grades
    reference = torch.tensor(reference, dtype=torch.float64) if isinstance(reference, list) else reference
    return ListwiseInput(z, grades, mine_pairs(z, grades, PairSettings(**options)), reference)
