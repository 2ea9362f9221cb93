"""One report over many run folders: found, named by what differs, seeds put together, nothing dropped."""

import csv
import json
from dataclasses import replace
from statistics import fmean, stdev

import pytest
import yaml

from headrank.evaluation.comparison.variants import make_variants
from headrank.evaluation.run_folder import find_run_folders, read_run_folder
from headrank.report import main


@pytest.fixture
def make_run(tmp_path, make_benchmark):
    """Writes a run folder as a run does."""

    def make(name, *overrides, seed=0, state="finished", config=None, benchmarks=("dl20",), quality=0, **status):
        folder = tmp_path / name
        (folder / ".hydra").mkdir(parents=True)
        (folder / ".hydra/overrides.yaml").write_text(yaml.safe_dump(list(overrides)))
        content = {
            "name": "x", "seed": seed, "objective": "ndcg@10", "scorer": {"seed": seed, "order": "first_stage"},
            "data": {"one": {"seed": 0}}, "paths": {"output": name},
            "benchmarks": {b: {"name": b} for b in benchmarks}, **(config or {}),
        }  # fmt: skip
        (folder / "config.yaml").write_text(yaml.safe_dump(content))
        if state is not None:
            (folder / "status.json").write_text(json.dumps({"state": state, "stage": "report", **status}))
        results = {}
        for number, benchmark in enumerate(benchmarks):
            result = make_benchmark(benchmark, queries=4, seed=number)
            better = make_benchmark(benchmark, queries=4, seed=100 + quality)
            systems = {**result.systems, "headrank": replace(better.systems["headrank"])}
            results[benchmark] = replace(result, systems=systems)
            (folder / "metrics").mkdir(exist_ok=True)
            (folder / f"metrics/{benchmark}.json").write_text(json.dumps(results[benchmark].to_dict()))
        return folder, results

    return make


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_seeds_are_put_together_as_mean_and_sample_deviation(make_run, tmp_path, capsys):
    values = []
    for seed in (0, 1, 2):
        _, results = make_run(f"s/seed={seed}", "+experiment=x", f"seed={seed}", seed=seed, quality=seed)
        values.append(results["dl20"].systems["headrank"].means["ndcg@10"])
    make_run(
        "s/reversed", "+experiment=x", "scorer.order=reversed", config={"scorer": {"order": "reversed", "seed": 0}}
    )
    assert main([str(tmp_path / "s")]) == 0
    rows = rows_of(tmp_path / "s/comparison.csv")
    (row,) = [r for r in rows if r["System"] == "headrank" and r["Runs"] == "3"]
    assert row["order"] == "", "what differs is the only name"
    assert float(row["nDCG@10"]) == pytest.approx(fmean(values))
    assert float(row["nDCG@10 ±"]) == pytest.approx(stdev(values))
    (other,) = [r for r in rows if r["System"] == "headrank" and r["order"] == "reversed"]
    assert (other["Runs"], other["nDCG@10 ±"]) == ("1", "")
    assert len(rows) == 2 * 3
    text = (tmp_path / "s/comparison.md").read_text()
    assert "experiment" not in text, "what all have in common is not said"
    assert text.count("first stage") == 1 + 2, "once in the main table"
    printed = capsys.readouterr().out
    assert printed.startswith("# 4 of 4 runs compared: 4 finished")
    html = (tmp_path / "s/comparison.html").read_text()
    assert "<script" not in html
    assert "http" not in html
    assert f"{fmean(values):.4f}".lstrip("0") in html


def test_each_run_stands_in_runs_csv_with_or_without_results(make_run, tmp_path):
    good, results = make_run("a/b/one", "x=1", benchmarks=("dl19", "dl20"))
    make_run("a/two", "x=2", state="failed", error="out\nof memory", benchmarks=())
    assert main([str(tmp_path / "a"), "--output", str(tmp_path / "out"), "--metric", "mrr@10"]) == 0
    rows = rows_of(tmp_path / "out/runs.csv")
    assert [(r["State"], r["x"], r["Benchmark"], r["System"]) for r in rows] == [
        ("finished", "1", benchmark, system)
        for benchmark in ("dl19", "dl20")
        for system in ("first stage", "headrank", "random")
    ] + [("failed", "2", "", "")]
    assert rows[1]["Folder"] == str(good)
    assert float(rows[1]["ndcg@10"]) == results["dl19"].systems["headrank"].means["ndcg@10"]
    text = (tmp_path / "out/comparison.md").read_text()
    assert "## MRR@10" in text
    assert "two: failed at stage report: out of memory" in text.replace("\\", "")


def test_what_is_not_finished_is_listed_and_its_results_do_not_count(make_run, tmp_path, capsys):
    make_run("r/good", "x=1")
    make_run("r/failed", "x=2", state="failed", error="no space left")
    make_run("r/stopped", "x=3", state="running")
    make_run("r/copy", "x=4", state="same", same_as="x=1", benchmarks=())
    make_run("r/new", "x=5", state=None, benchmarks=())
    make_run("r/bare", "x=6", state=None)
    broken, _ = make_run("r/broken", "x=7")
    (broken / "metrics/dl20.json").write_text("{}")
    assert main([str(tmp_path / "r")]) == 0
    text = (tmp_path / "r/comparison.md").read_text().replace("\\", "")
    assert "2 of 7 runs compared" in text
    for line in (
        "failed: failed at stage report: no space left", "stopped: running or stopped at stage report",
        "copy: same at stage report: the same as x=1", "new: not started", "bare: no status",
        "broken: unreadable: ValueError: not a benchmark's result",
    ):  # fmt: skip
        assert f"/r/{line}" in text
    assert {row["x"] for row in rows_of(tmp_path / "r/comparison.csv")} == {"1", "6"}
    assert all(name in capsys.readouterr().out for name in ("r/failed",))


def test_variants_are_named_by_what_differs(make_run):
    def names(*folders):
        found = make_variants([read_run_folder(folder) for folder in folders])
        return found.keys, [variant.name for variant in found.variants]

    base, _ = make_run("base", "+experiment=x", "paths.output=/a")
    lr, _ = make_run("lr", "+experiment=x", "alignment.lr=0.1", config={"alignment": {"lr": 0.1}})
    both, _ = make_run("both", "alignment.lr=0.2", "other.lr=1", config={"alignment": {"lr": 0.2}})
    assert names(base) == (("folder",), [("base",)])
    assert names(base, lr) == (("lr",), [(None,), ("0.1",)])
    assert names(lr, both) == (
        ("experiment", "alignment.lr", "other.lr"),
        [("x", "0.1", None), (None, "0.2", "1")],
    )
    # The same overrides, another configuration: a file of conf was changed in between.
    changed, _ = make_run("changed", "+experiment=x", config={"selection": {"heads": 16}})
    assert names(base, changed) == (("heads",), [(None,), ("16",)])
    # Nothing tells them apart: neither is lost in the other.
    twin, _ = make_run("twin", "+experiment=x")
    assert names(base, twin) == (("folder",), [(str(base),), (str(twin),)])


def test_a_seed_that_the_runs_seed_does_not_set_is_a_difference(make_run):
    folders = [make_run(f"{n}", f"data.one.seed={n}", config={"data": {"one": {"seed": n}}})[0] for n in (0, 1)]
    assert len(make_variants([read_run_folder(folder) for folder in folders]).variants) == 2


def test_folders_are_found_below_runs_too_once_and_in_natural_order(make_run, tmp_path):
    outer, _ = make_run("out")
    for name in ("heads_16", "heads_4"):
        make_run(f"out/sweep/{name}")
    (outer / "runs/metrics").mkdir(parents=True)
    (outer / "figures").mkdir()
    (outer / "figures/status.json").write_text("{}")
    found = find_run_folders([tmp_path, outer, outer / "sweep"])
    assert [str(path.relative_to(tmp_path)) for path in found] == ["out", "out/sweep/heads_4", "out/sweep/heads_16"]


def test_results_of_benchmarks_that_the_configuration_no_longer_names_do_not_count(make_run):
    folder, _ = make_run("old", benchmarks=("dl19", "dl20"))
    config = yaml.safe_load((folder / "config.yaml").read_text())
    del config["benchmarks"]["dl19"]
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    assert [result.name for result in read_run_folder(folder).results] == ["dl20"]


def test_means_over_benchmarks_need_all_of_them(make_run, tmp_path):
    make_run("m/two", "x=2", benchmarks=("dl19", "dl20"))
    make_run("m/one", "x=1")
    main([str(tmp_path / "m")])
    lines = [line.split("|") for line in (tmp_path / "m/comparison.md").read_text().split("## All")[0].splitlines()]
    cells = {(c[1].strip(), c[2].strip()): [x.strip() for x in c[3:-1]] for c in lines if len(c) > 5}
    assert cells["x", "System"] == ["dl20", "dl19", "Mean", "Runs"]
    assert cells["1", "headrank"][1:3] == ["–", "–"]
    assert "–" not in cells["2", "headrank"]


def test_errors_and_globs(make_run, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_run("g/a", "x=1")
    make_run("g/b", "x=2", state="failed", benchmarks=())
    assert main(["nowhere/*"]) == 1
    assert "nowhere/* " in capsys.readouterr().err
    assert main(["g/b"]) == 1
    assert "none of the 1 runs has results: 1 failed" in capsys.readouterr().err
    assert main(["g/a", "--metric", "ndcg@7"]) == 1
    assert "expected one of ndcg@10" in capsys.readouterr().err
    assert main(["g/*"]) == 0
    assert (tmp_path / "comparison/comparison.html").is_file()
