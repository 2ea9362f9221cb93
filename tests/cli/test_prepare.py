"""`headrank prepare`: an experiment's data and models on the machine, without a model in memory."""

from dataclasses import replace

import pytest
import torch
from typer.testing import CliRunner

from headrank.baselines import CrossEncoderReranker
from headrank.cli.main import app
from headrank.cli.prepare import prepare_experiment
from headrank.errors import MissingFileError, MissingModelError
from headrank.model import BackboneSettings
from tests.pipelines import no_model


@pytest.fixture
def with_bm25(experiment, monkeypatch):
    no_model(monkeypatch)
    return replace(experiment, benchmarks=tuple(replace(one, first_stage="bm25") for one in experiment.benchmarks))


def test_data_and_indexes_are_made(with_bm25):
    before = torch.cuda.is_initialized()
    prepare_experiment(with_bm25)
    assert list((with_bm25.cache / "bm25").rglob("*")), "the index of the benchmarks"
    assert torch.cuda.is_initialized() == before
    files = {path: path.stat().st_mtime_ns for path in with_bm25.cache.rglob("*") if path.is_file()}
    prepare_experiment(with_bm25)
    assert {path: path.stat().st_mtime_ns for path in files} == files


def test_what_cannot_be_fetched_is_named(with_bm25, tmp_path):
    missing = BackboneSettings(model=str(tmp_path / "nowhere"))
    with pytest.raises(MissingModelError, match="nowhere"):
        prepare_experiment(replace(with_bm25, model=missing))
    with pytest.raises(MissingModelError, match="nowhere"):
        prepare_experiment(replace(with_bm25, rerankers={"cross": CrossEncoderReranker(missing)}))
    benchmarks = (replace(with_bm25.benchmarks[0], collection=str(tmp_path / "no-docs")),)
    with pytest.raises(MissingFileError, match="no-docs"):
        prepare_experiment(replace(with_bm25, benchmarks=benchmarks))


def test_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADRANK_CACHE", str(tmp_path))
    done = CliRunner().invoke(app, ["prepare", "benchmarks=[sample]", "model.model=" + str(tmp_path / "nowhere")])
    assert done.exit_code == 1
    assert "nowhere" in done.output
    assert CliRunner().invoke(app, ["prepare", "no_such_key=1"]).exit_code == 2
    done = CliRunner().invoke(app, ["prepare", "--config-dir", str(tmp_path / "no-folder")])
    assert (done.exit_code, "no-folder" in done.output) == (2, True)
