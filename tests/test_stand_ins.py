"""The stand-ins of collections and of the hub, read by the real ir_datasets and huggingface_hub in separate processes
(both read their settings from the environment at import)."""

import hashlib
import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import yaml

from tests.rehearsal import ROOT, hub, rehearsal_environment, stand_in_home

READ = """
import json, sys
from headrank.data.irds import IrDatasetsCollection
found = {}
for name in sys.argv[1:]:
    collection = IrDatasetsCollection(name)
    run = collection.scoreddocs() if "v2" in name else None
    judged = {d for grades in collection.qrels.values() for d in grades}
    ids = judged if run is None else judged | {i for ranking in run.values() for i in ranking.passage_ids}
    found[name] = {
        "queries": len(collection.judged_queries),
        "passages": sum(1 for _ in collection.passages()) if "v2" not in name else None,
        "without_text": len(ids - collection.lookup(ids).keys()),
        "grades": sorted({g for grades in collection.qrels.values() for g in grades.values()}),
        "run": None if run is None else sorted({len(ranking) for ranking in run.values()}),
    }
print(json.dumps(found))
"""


def collections(group: str, *names: str) -> dict[str, str]:
    """Option -> the collection that a file of a group of conf/ names."""
    files = {name: ROOT / "conf" / group / f"{name}.yaml" for name in names}
    return {name: yaml.safe_load(file.read_text())[name]["collection"] for name, file in files.items()}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return stand_in_home(tmp_path_factory.mktemp("irds") / "home", queries=3)


def python(environment, *words):
    done = subprocess.run(
        [sys.executable, *map(str, words)], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_every_collection_of_the_suites_and_of_training_is_read_offline(home):
    suites = [
        yaml.safe_load((ROOT / f"conf/benchmarks/{suite}.yaml").read_text()) for suite in ("trec_beir14", "beir14")
    ]
    options = [option for suite in suites for option in suite["defaults"]]
    ids = {*collections("benchmarks", *options).values()}
    training = {*collections("data", "trec_dl_2021", "trec_dl_2022", "trec_dl_2023", "nfcorpus").values()}
    found = json.loads(python(rehearsal_environment(home), "-c", READ, *sorted(ids | training)).splitlines()[-1])
    assert len(options) == 28
    assert found.keys() == ids | training
    for name, facts in found.items():
        assert facts["queries"] == 3, name
        assert facts["without_text"] == 0, name
        assert facts["passages"] is None or facts["passages"] > 40, name  # the default depth
        if "trec-dl" in name:
            assert facts["grades"] == [0, 1, 2, 3], name
        if name in training and name.startswith("msmarco"):
            assert facts["run"] == [100], name
    assert found["beir/nfcorpus/test"]["grades"] == [1, 2]
    assert found["beir/scifact/test"]["grades"] == [1]


def test_the_same_seed_gives_the_same_bytes(home, tmp_path):
    def digests(folder):
        written = ("source.zip", "collectionandqueries.tar.gz", "msmarco_v2_passage.tar", "qrels")
        files = {p.relative_to(folder): p for name in written for p in sorted(folder.rglob(name))}
        return {str(name): hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}

    again = digests(stand_in_home(tmp_path / "again", queries=3))
    other = digests(stand_in_home(tmp_path / "other", queries=3, seed=1))
    assert len(again) > 16
    assert again.items() <= digests(home).items()  # reading has added files there
    assert not set(again.values()) & set(other.values())


def test_a_folder_that_holds_something_is_refused(tmp_path):
    (tmp_path / "file").touch()
    command = [sys.executable, ROOT / "scripts/make_stand_ins.py", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert str(tmp_path) in done.stderr
    assert os.listdir(tmp_path) == ["file"]


LOAD = """
import json, sys
from headrank.model import BackboneSettings, load_backbone
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError
model, revision = sys.argv[1:]
backbone = load_backbone(BackboneSettings(model=model, revision=revision), depth=2)
refused = []
for error, name, commit, file in (
    (EntryNotFoundError, model, revision, "none.json"),
    (RevisionNotFoundError, model, "0" * 40, "config.json"),
    (RepositoryNotFoundError, "no/model", None, "config.json"),
):
    try:
        hf_hub_download(name, file, revision=commit)
    except error:
        refused.append(error.__name__)
print(json.dumps({
    "depth": backbone.depth, "layers": backbone.layers, "tokens": backbone.tokenizer("balo")["input_ids"],
    "main": HfApi().model_info(model).sha, "snapshot": snapshot_download(model, revision=revision), "refused": refused,
    "tree": sorted(file.path for file in HfApi().list_repo_tree(model, revision=revision)),
}))
"""


def test_the_hub_serves_the_configured_models_and_refuses_others(tmp_path):
    models = [yaml.safe_load(file.read_text()) for file in sorted((ROOT / "conf/model").glob("qwen3_*.yaml"))]
    with hub(tmp_path / "models") as endpoint:
        environment = rehearsal_environment(tmp_path / "none", endpoint=endpoint, hf_home=tmp_path / "hf")
        found = json.loads(python(environment, "-c", LOAD, models[0]["model"], models[0]["revision"]).splitlines()[-1])
        config = f"{models[0]['model']}/resolve/{models[0]['revision']}/config.json"
        rest = urllib.request.Request(f"{endpoint}/{config}", headers={"Range": "bytes=10-"})  # a resumed download
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(rest, timeout=30) as answer:
            status, content = answer.status, answer.read()
    folder = tmp_path / "models" / models[0]["model"]
    assert (status, content) == (206, (folder / "config.json").read_bytes()[10:])
    assert found["tree"] == sorted(path.name for path in folder.iterdir())
    assert (found["depth"], found["layers"]) == (2, 5)
    assert len(found["tokens"]) == 2  # two syllables
    assert found["main"] == models[0]["revision"]
    assert Path(found["snapshot"]).name == models[0]["revision"]
    assert found["refused"] == ["EntryNotFoundError", "RevisionNotFoundError", "RepositoryNotFoundError"]
    baselines = {name: ROOT / "conf/baselines" / f"{name}.yaml" for name in ("qwen3_reranker", "cross_encoder")}
    expected = {one["model"] for one in models}
    expected |= {yaml.safe_load(file.read_text())[name]["model"]["model"] for name, file in baselines.items()}
    served = (tmp_path / "models").rglob("config.json")
    assert {str(path.parent.relative_to(tmp_path / "models")) for path in served} == expected
