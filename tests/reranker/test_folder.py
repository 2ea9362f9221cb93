"""The folder of a saved reranker: a model card, and no library reads it as a model with a head without saying so."""

import pytest
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification
from transformers.utils import logging as transformers_logging

from headrank import Reranker
from headrank.errors import ModelError


@pytest.fixture(scope="module")
def saved(model_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "reranker"
    Reranker.from_pretrained(model_folder, [(1, 2)], device="cpu").save(folder)
    return folder


@pytest.mark.parametrize(
    ("trusted", "error", "found"),
    [(False, ValueError, "headrank.*NotACrossEncoder"), (True, ModelError, "from_pretrained")],
)
def test_sentence_transformers_refuses_it_as_a_cross_encoder(saved, trusted, error, found):
    reason = "sentence-transformers is not installed (extra `baselines`)"
    library = pytest.importorskip("sentence_transformers", reason=reason)
    with pytest.raises(error, match=found):
        library.CrossEncoder(str(saved), device="cpu", trust_remote_code=trusted, local_files_only=True)


@pytest.mark.parametrize(
    ("kind", "weight"),
    [(AutoModelForSequenceClassification, "score.weight"), (AutoModelForCausalLM, "lm_head.weight")],
)
def test_transformers_reports_a_random_head(saved, kind, weight, caplog):
    transformers_logging.enable_propagation()
    try:
        _, info = kind.from_pretrained(saved, output_loading_info=True)
    finally:
        transformers_logging.disable_propagation()
    assert set(info["missing_keys"]) == {weight}
    assert any(weight in record.getMessage() and "MISSING" in record.getMessage() for record in caplog.records)


def test_the_model_card_shows_how_to_open_it(saved):
    card = (saved / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nlibrary_name: headrank\n---\n")
    (example,) = card.split("```python\n")[1:]
    names: dict[str, object] = {}
    exec(example.split("```")[0].replace("FOLDER", str(saved)), names)
    assert isinstance(names["reranker"], Reranker)
