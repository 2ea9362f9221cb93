"""A list of scores and grades with its pairs, as losses take them."""

import torch

from headrank.alignment import (
    ListwiseInput,
    PairSettings,
    mine_pairs,
)

Z = torch.tensor([0.3, -1.2, 2.1, 0.9, -0.4, 1.5, 0.1, -2.0], dtype=torch.float64)
GRADES = torch.tensor([2, 0, 1, 0, 3, 0, 1, 0])
REFERENCE = torch.tensor([0.1, 0.2, 1.1, 0.3, -0.6, 1.0, 0.4, -1.0], dtype=torch.float64)


def listing(z, grades, reference=None, **options):
    z = torch.tensor(z, dtype=torch.float64) if isinstance(z, list) else z
    grades = torch.tensor(grades, dtype=torch.long) if isinstance(grades, list) else grades
    reference = torch.tensor(reference, dtype=torch.float64) if isinstance(reference, list) else reference
    return ListwiseInput(z, grades, mine_pairs(z, grades, PairSettings(**options)), reference)
