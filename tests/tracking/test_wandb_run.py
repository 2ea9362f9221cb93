"""A real run at debug size, offline: what W&B was told is what stands in the run folder."""

import base64
import csv
import hashlib
import json
import re

import pytest
from safetensors import safe_open

from tests.tracking.conftest import WORDS
from tests.tracking.offline import offline_runs, synced

SYSTEMS = {"first stage": "first_stage", "headrank": "headrank", "zero-shot": "zero_shot", "icr": "icr"}


@pytest.fixture(scope="module")
def run(tracked):
    (only,) = offline_runs(tracked.folder)
    return only


@pytest.fixture(scope="module")
def metrics(tracked):
    return json.loads((tracked.folder / "metrics/sample-test.json").read_text())


def under(values, prefix):
    return {key: value for key, value in values.items() if key.startswith(f"{prefix}/")}


def md5(path):
    return base64.b64encode(hashlib.md5(path.read_bytes()).digest()).decode()


def test_the_run_and_its_configuration(tracked, run):
    assert (run.name, run.group) == ("tracked", "")
    assert not run.resumes, "it holds everything, and replaces what was uploaded of it before"
    assert run.config == tracked.config
    assert run.config["model"]["model"] == "smollm2-135m-instruct", "plain values, not text"
    assert run.exit_code == 0
    status = json.loads((tracked.folder / "status.json").read_text())
    assert (run.summary["status/state"], run.summary["status/error"]) == ("finished", "")
    assert run.summary["objective"] == status["objective"] == tracked.outcome.objective
    assert under(run.summary, "time") == {f"time/{stage}": seconds for stage, seconds in status["seconds"].items()}
    assert set(status["seconds"]) == {"data", "select", "align", "rerank", "score", "explain", "report"}
    assert status["seconds"]["align"] > 0


def test_metrics_are_those_of_the_json(run, metrics):
    logged, expected = run.logged(), {}
    for name, key in SYSTEMS.items():
        for metric, value in metrics["systems"][name]["means"].items():
            expected[f"metrics/sample_test/{key}/{metric.replace('@', '_')}"] = value
    assert len(expected) == 4 * 5
    assert under(logged, "metrics") == expected
    assert under(logged, "mean") == {key.replace("metrics/sample_test", "mean"): v for key, v in expected.items()}


def test_selectivity_and_homogenization_are_those_of_the_json(run, metrics):
    logged, selected, alike = run.logged(), {}, {}
    for name, key in SYSTEMS.items():
        s = metrics["systems"][name]["selectivity"]
        low, high = s["interval"] or (None, None)
        parts = {"difference": s["difference"], "low": low, "high": high}
        parts |= {"relevant": s["relevant"], "irrelevant": s["irrelevant"]}
        selected |= {f"{key}/{part}": value for part, value in parts.items() if value is not None}
        zone = metrics["systems"][name]["middle_zone"]["homogenization"]
        alike |= {f"homogenization/sample_test/{key}/{part}": v for part, v in zone.items() if v is not None}
    assert len([key for key in selected if key.endswith("/low")]) >= 2
    assert under(logged, "selectivity") == {f"selectivity/sample_test/{key}": v for key, v in selected.items()}
    assert under(logged, "pooled_selectivity") == {f"pooled_selectivity/{key}": v for key, v in selected.items()}
    assert under(logged, "homogenization") == alike


def test_every_place_in_the_context_has_a_row(run, metrics):
    rows = [row for row in run.history if "position" in row]
    assert [row["position"] for row in rows] == [6.25, 18.75, 31.25, 43.75, 56.25, 68.75, 81.25, 93.75]
    assert run.steps["positions/*"] == "position"
    for i, row in enumerate(rows):
        for name, key in SYSTEMS.items():
            zone = metrics["systems"][name]["middle_zone"]
            counts, interval = zone["positions"][i], zone["position_intervals"][i]
            found = under(row, f"positions/sample_test/{key}")
            shares = {}
            for kind in ("relevant", "irrelevant"):
                if counts[kind]:
                    shares[kind] = counts[f"{kind}_top"] / counts[kind]
            if len(shares) == 2:
                shares["difference"] = shares["relevant"] - shares["irrelevant"]
            if interval is not None:
                shares["low"], shares["high"] = interval
            assert found == {f"positions/sample_test/{key}/{part}": value for part, value in shares.items()}


def test_training_curves_are_those_of_the_record(tracked, run):
    with (tracked.folder / "training/epochs.csv").open(newline="") as file:
        record = [{k.replace("@", "_"): float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]
    assert len(record) == 2
    rows = [row for row in run.history if "epoch" in row]
    assert rows == record
    assert run.history[:2] == rows, "as they come, before the results"
    assert {"train/loss", "train/preference", "val/ndcg_10", "heads/overlap", "heads/depth"} <= set(rows[0])
    assert {run.steps[pattern] for pattern in ("train/*", "val/*", "heads/*")} == {"epoch"}


def test_heads_and_model_are_artifacts(tracked, run):
    folder = tracked.folder
    heads = ("heads.json", "heads/icr.json")
    assert run.artifacts[f"heads-{run.id}"] == {name: md5(folder / name) for name in heads}
    name = "checkpoint/heads.json"
    assert run.artifacts[f"aligned-heads-{run.id}"] == {name: md5(folder / name)}
    files = {f"checkpoint/{path.name}": md5(path) for path in (folder / "checkpoint").iterdir()}
    assert "checkpoint/model.safetensors" in files
    assert run.artifacts[f"model-{run.id}"] == files


def test_numbers_beside_the_results(tracked, run):
    facts = json.loads((tracked.folder / "facts.json").read_text())["icr/sample-test"]
    logged = run.logged()
    assert logged["cost/sample_test/icr/seconds_per_query"] == pytest.approx(facts["seconds"] / facts["lists"])
    assert logged["cost/sample_test/icr/tokens_per_query"] == facts["tokens"] / facts["lists"]
    assert logged["cost/sample_test/icr/flops_per_query"] == facts["flops"] / facts["lists"] > 0
    assert logged["cost/sample_test/icr/flops_per_second"] == pytest.approx(facts["flops"] / facts["seconds"])
    heads = json.loads((tracked.folder / "checkpoint/heads.json").read_text())
    assert logged["model/layers_in_use"] == heads["depth"]
    with safe_open(tracked.folder / "checkpoint/model.safetensors", "pt") as file:  # what is served: cut, merged
        served = sum(file.get_tensor(name).numel() for name in file.keys())  # noqa: SIM118 (no mapping)
    assert logged["model/parameters_in_use"] == served <= logged["model/parameters"]


def test_tables_figures_and_report_are_the_local_ones(tracked, run):
    for name in ("main", "changes", "middle_zone", "positions"):
        table = json.loads(run.media(f"tables/{name}"))
        with (tracked.folder / f"tables/{name}.csv").open(newline="") as file:
            headings, *rows = csv.reader(file)
        assert table["columns"] == headings
        assert [["" if cell is None else str(cell) for cell in row] for row in table["data"]] == rows
    metrics = json.loads(run.media("tables/sample_test/metrics"))
    assert [row[1] for row in metrics["data"]] == list(SYSTEMS)
    for path in (tracked.folder / "figures").iterdir():
        assert run.media(f"figures/{path.stem}") == path.read_text()
    assert (tracked.folder / "figures/training.svg").is_file()
    assert run.media("report") == (tracked.folder / "report.html").read_text()


def test_what_is_on_the_dashboard_is_in_the_local_report(tracked, run):
    html = (tracked.folder / "report.html").read_text()
    for row in run.history[:2]:
        assert f"{row['val/ndcg_10']:.4f}".lstrip("0") in html
        assert f"{row['train/loss']:.3g}" in html
    markdown = (tracked.folder / "report.md").read_text()
    assert re.search(r"^\| Epoch \| +Loss \|", markdown, re.MULTILINE)
    assert re.search(r"^- time, stages: data \d+ s, select \d+ s, align \d+ s, rerank \d+ s, ", markdown, re.MULTILINE)
    assert f"- size: {run.logged()['model/parameters'] / 1e6:.3g} M parameters" in markdown


def test_a_second_start_holds_everything_and_replaces_the_first(tracked, start, run):
    start(tracked.folder, *WORDS, "tracking.log_model=true")
    (second,) = offline_runs(tracked.folder)
    assert second.folder != run.folder
    assert second.id == run.id
    assert [row for row in second.history if "epoch" in row] == [row for row in run.history if "epoch" in row]
    assert [row for row in second.history if "position" in row] == [row for row in run.history if "position" in row]
    assert under(second.logged(), "metrics") == under(run.logged(), "metrics") != {}
    assert second.artifacts == run.artifacts
    assert second.summary["status/state"] == "finished"
    assert second.exit_code == 0
    assert synced(tracked.folder) == {second.folder}
    # Another configuration is another run, with everything in it, though little of it is computed again.
    start(tracked.folder, *WORDS, "metrics=[ndcg@10,mrr@10]")
    third = offline_runs(tracked.folder)[1]
    assert third.id != run.id
    assert set(under(third.logged(), "metrics")) == {
        f"metrics/sample_test/{key}/{metric}" for key in SYSTEMS.values() for metric in ("ndcg_10", "mrr_10")
    }
    assert [row for row in third.history if "epoch" in row] == [row for row in run.history if "epoch" in row]
    assert set(third.artifacts) == {f"heads-{third.id}", f"aligned-heads-{third.id}"}, "no model unless it is asked for"
