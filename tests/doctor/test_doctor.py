"""The doctor as a user calls it, in this process: exit codes, what is named as missing, and that it touches nothing."""

import json
import os
import socket
import subprocess
import sys
from collections import namedtuple
from importlib import metadata
from pathlib import Path

import pytest
import torch
from transformers import AutoModel

from headrank.data.bm25.index import BM25Parameters, bm25_index
from headrank.data.open_collection import load_collection
from headrank.doctor import __main__ as doctor
from headrank.doctor import data as doctor_data
from headrank.doctor import memory as doctor_memory
from headrank.doctor import packages
from headrank.doctor.findings import Finding, State, as_text, exit_code
from headrank.io.memory import DeviceMemory, device_memory

ROOT = Path(__file__).parents[2]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("HEADRANK_CACHE", str(folder))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return folder


@pytest.fixture
def calm(monkeypatch):
    """Neither network nor weights: whoever asks for one fails."""

    def refuse(*_, **__):
        raise AssertionError("the doctor asked for a network or for weights")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(AutoModel, "from_pretrained", refuse)


@pytest.fixture
def ask(model_folder, tmp_path, cache, calm, capsys):
    """Asks about the tiny model on the sample collection, with overrides: (exit code, findings by part and name)."""

    def asked(*overrides):
        capsys.readouterr()
        given = (f"model.model={model_folder}", f"paths.output={tmp_path}/out", "prompt.max_passage_tokens=16")
        code = doctor.main([*given, *overrides, "--json"])
        said = json.loads(capsys.readouterr().out)
        assert said["exit_code"] == code
        found = {}
        for one in said.get("findings", ()):
            found.setdefault(one["part"], []).append(one)
        return code, found or said["error"]

    return asked


def states(findings, name):
    return [one["state"] for one in findings if one["name"] == name]


def test_all_is_there_or_made_and_nothing_is_written(ask, tmp_path):
    code, found = ask()
    assert code == 0
    assert list(found) == ["packages", "machine", "model", "memory", "data", "disk"]
    assert states(found["data"], "sample-test") == ["ok", "pending"]
    assert {one["state"] for one in found["memory"]} == {"ok"}
    assert [one["name"] for one in found["memory"]] == ["selection", "reranking"]
    assert list(tmp_path.iterdir()) == []


def test_an_index_that_was_built_is_found(ask, cache):
    collection = load_collection("sample/test")
    bm25_index(collection, BM25Parameters(), cache)
    _, found = ask()
    assert states(found["data"], "sample-test") == ["ok", "ok"]
    assert states(found["data"], "sample-train") == ["ok", "pending"]


def test_a_missing_model_is_missing_and_its_memory_unknown(ask):
    code, found = ask("model=qwen3_4b", "model.model=Qwen/Nowhere", "model.revision=" + "a" * 40)
    assert code == 1
    (one,) = found["model"]
    assert one["state"] == "missing"
    assert "hf download Qwen/Nowhere --revision aaaa" in one["remedy"]
    assert "HF_HUB_OFFLINE unset" in one["remedy"]
    assert states(found["memory"], "needed") == ["note"]


def test_data_sets_that_are_not_here_name_files_sizes_terms_and_disk(ask, monkeypatch):
    Usage = namedtuple("Usage", "total used free")
    monkeypatch.setattr(doctor_data.shutil, "disk_usage", lambda path: Usage(10**12, 0, 10**9))
    code, found = ask("benchmarks=[trec_dl_2019,trec_dl_2020]")
    assert code == 1
    first, stage, terms = (one for one in found["data"] if one["name"] == "trec-dl-2019")
    assert first["state"] == "missing"
    assert "collectionandqueries.tar.gz" in first["remedy"]
    assert "8,841,823 passages" in stage["detail"]
    assert "non-commercial" in terms["detail"]
    assert {one["state"] for one in found["disk"]} == {"missing"}
    # a GB to download and unpack, an index of 6 GB: once, although two benchmarks want them
    (sizes,) = {one["detail"].split("about ")[1] for one in found["disk"] if "GiB needed" in one["detail"]}
    assert 8 < float(sizes.split()[0]) < 10


def test_runs_by_pattern_are_looked_for(ask, tmp_path):
    (tmp_path / "sample-test.trec").write_text("")
    code, found = ask(f"first_stage_runs='{tmp_path}/{{name}}.trec'")
    assert code == 0
    assert found["data"][-1]["detail"].endswith(f"the run {tmp_path}/sample-test.trec")
    (tmp_path / "sample-test.trec").unlink()
    code, found = ask(f"first_stage_runs='{tmp_path}/{{name}}.trec'")
    assert code == 1
    assert f"{tmp_path}/sample-test.trec" in found["data"][-1]["detail"]
    code, found = ask(f"data.sample.labels=run:{tmp_path}/teacher.trec")
    assert (code, states(found["data"], "sample-train")[-1]) == (1, "missing")


def test_a_folders_own_run_is_found_by_name_or_alone(ask, make_folder):
    folder = make_folder()
    local = ("benchmarks=[local]", f"benchmarks.local.collection={folder}")
    assert states(ask(*local)[1]["data"], "local") == ["ok", "ok"]
    assert states(ask(*local, "benchmarks.local.run_path=bm25")[1]["data"], "local") == ["ok", "ok"]
    assert states(ask(*local, "benchmarks.local.run_path=splade")[1]["data"], "local") == ["ok", "missing"]
    (folder / "splade.trec").write_text("")
    _, found = ask(*local)
    assert states(found["data"], "local") == ["ok", "missing"]
    assert "bm25, splade" in found["data"][-1]["detail"]
    for run in ("bm25", "splade"):
        (folder / f"{run}.trec").unlink()
    assert states(ask(*local)[1]["data"], "local") == ["ok", "pending"]


@pytest.mark.parametrize(("total", "free", "state", "code"), [(1, 1, "missing", 1), (10**13, 1, "note", 0)])
def test_memory_is_held_against_the_device(ask, monkeypatch, total, free, state, code):
    monkeypatch.setattr(doctor_memory, "device_memory", lambda device: DeviceMemory(total, free))
    found_code, found = ask("alignment=lora")
    assert found_code == code
    assert [one["name"] for one in found["memory"]] == ["selection", "alignment", "reranking"]
    assert {one["state"] for one in found["memory"]} == {state}


def test_more_candidates_need_more_memory_and_may_not_fit_the_context(ask):
    def need(*overrides):
        _, found = ask(*overrides)
        return {one["name"]: one["detail"] for one in found["memory"]}

    few, many = need("scorer.batch_size=1"), need("scorer.batch_size=1", "benchmarks.sample.depth=100")
    assert few.keys() == many.keys() == {"selection", "reranking"}
    assert few["selection"] == many["selection"]
    assert few["reranking"] != many["reranking"]
    assert "4,096 tokens; " in need("benchmarks.sample.depth=400")["context"]  # what the tiny model's context holds


def test_a_gpu_that_is_asked_for_has_to_be_there(ask):
    if torch.cuda.is_available():
        pytest.skip("there is one")
    code, found = ask(
        "model.device=cuda", "model.kernel=flash_attention_2", "alignment=lora", "trainer.accelerator=gpu"
    )
    assert code == 1
    assert [one["name"] for one in found["machine"] if one["state"] == "missing"] == ["device", "trainer", "kernel"]


@pytest.mark.parametrize("there", [True, False])
def test_what_is_compiled_needs_a_compiler(there, ask, tmp_path, monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    if there:
        (tmp_path / "g++").touch(mode=0o755)
    code, found = ask("model.compile=true", "model.device=cpu")
    (compiler,) = [one for one in found["machine"] if one["name"] == "compiler"]
    assert compiler["state"] == ("ok" if there else "missing")
    assert compiler["detail"].startswith("model.compile=true: needs a C++ compiler")
    assert code == (0 if there else 1)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("+experiment=nowhere", "nano"),  # told with the ones there are
        ("benchmarks.sample.depth=0", "benchmarks.sample.depth is 0"),
        ("benchmarks=[local]", "benchmarks.local.collection=VALUE"),
        ("benchmarks.sample.collection=beir/nfcorpsu", "Close matches: beir/nfcorpus"),
        ("selection.nonsense=1", "nonsense"),
    ],
)
def test_a_bad_configuration_is_2_and_says_why(ask, override, said):
    code, error = ask(override)
    assert code == 2
    assert said in error


def test_packages_are_held_against_pyproject(monkeypatch):
    names = {requirement.name for requirement in packages.requirements({"train"})}
    assert {"torch", "transformers", "ir_datasets", "lightning", "peft"} <= names
    assert "lightning" not in {requirement.name for requirement in packages.requirements(set())}
    assert [one.state for one in packages.package_findings({"train"})] == ["ok"]
    version = metadata.version

    def other(name):
        if name == "peft":
            raise metadata.PackageNotFoundError(name)
        return "0.1" if name == "bm25s" else version(name)

    monkeypatch.setattr(packages.metadata, "version", other)
    found = {one.name: one for one in packages.package_findings({"train"})}
    assert found["bm25s"].detail.startswith("0.1 is installed; expected ")
    assert found["peft"].detail.startswith("not installed; expected peft")
    assert {found[name].state for name in ("bm25s", "peft")} == {State.MISSING}


def test_the_installed_metadata_serves_where_there_is_no_checkout(monkeypatch):
    listed = {one.name for one in packages.requirements({"train"})}
    monkeypatch.setattr(packages, "PYPROJECT", Path("/nowhere/pyproject.toml"))
    assert {"torch", "lightning"} <= {one.name for one in packages.requirements({"train"})} & listed
    assert "lightning" not in {one.name for one in packages.requirements(set())}


def test_a_missing_package_names_its_extra_and_hides_nothing(ask, monkeypatch):
    version = metadata.version

    def other(name):
        if name == "lightning":
            raise metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(packages.metadata, "version", other)
    assert ask()[0] == 0  # without alignment it is not needed
    code, found = ask("alignment=lora")
    assert code == 1
    (one,) = [one for one in found["packages"] if one["name"] == "lightning"]
    assert "`train`" in one["detail"]
    assert one["remedy"].startswith("python -m pip install ")
    assert "[train]" in one["remedy"]
    assert list(found) == ["packages", "machine", "model", "memory", "data", "disk"]


def test_extras_of_sweepers_and_launchers_are_checked(ask, monkeypatch):
    version = metadata.version

    def other(name):
        if name in ("optuna", "hydra-submitit-launcher"):
            raise metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(packages.metadata, "version", other)
    _, found = ask("+sweep=tune_alignment", "hydra/launcher=slurm")
    missing = {one["name"]: one["remedy"] for one in found["packages"] if one["state"] == "missing"}
    assert "[sweep]" in missing["optuna"]
    assert "[slurm]" in missing["hydra-submitit-launcher"]


def test_the_text_has_its_parts_remedies_and_a_count():
    findings = [
        Finding("model", "m", State.OK, "here"),
        Finding("data", "long name", State.MISSING, "no file", "do this\nand that"),
    ]
    assert as_text(findings).splitlines() == [
        "model",
        "  ok       m          here",
        "",
        "data",
        "  missing  long name  no file",
        "                      -> do this",
        "                         and that",
        "",
        "missing: 1",
    ]
    assert (exit_code(findings), exit_code(findings[:1])) == (1, 0)


def test_the_processors_memory_is_known():
    total, free = device_memory(torch.device("cpu"))
    assert 2**28 < free <= total


def test_the_command_without_a_network(tmp_path):
    environment = os.environ | {"HEADRANK_CACHE": str(tmp_path), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    environment |= {"HTTPS_PROXY": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "hf")}
    environment.pop("HF_HUB_OFFLINE", None)
    command = [sys.executable, "-m", "headrank.doctor", "+experiment=qwen3_4b"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 1, done.stderr
    assert "hf download Qwen/Qwen3-4B" in done.stdout
    assert "beir/hotpotqa/test: no source.zip" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("missing: ")
    assert list(tmp_path.iterdir()) == []
