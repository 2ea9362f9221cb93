"""Fixtures: a tiny random reranker, without and with a probability map."""

from dataclasses import replace

import pytest

from headrank import Reranker
from headrank.heads import ProbabilityCalibration

MAP = ProbabilityCalibration(1.5, -1.0, 0.1, {"mine": 1}, lists=3, passages=20, relevant=4, protocol="cross_fitted")


@pytest.fixture(scope="session")
def reranker(model_folder) -> Reranker:
    return Reranker.from_pretrained(model_folder, [(1, 2), (0, 3)], device="cpu")


@pytest.fixture(scope="session")
def calibrated(reranker) -> Reranker:
    return Reranker(reranker.backbone, replace(reranker.heads, probability=MAP))
