"""A run folder read back."""

import json

import pytest

from headrank.evaluation import read_results
from headrank.evaluation.run_folder import run_labels


def write_folder(folder, results, *, config="", heads=None, **files):
    (folder / "metrics").mkdir(parents=True)
    for result in results:
        (folder / "metrics" / f"{result.name}.json").write_text(json.dumps(result.to_dict()))
    (folder / "config.yaml").write_text(config)
    (folder / "heads.json").write_text(json.dumps(heads or {"heads": []}))
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_csv", ".csv").replace("_json", ".json")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_everything_comes_back(make_benchmark, heads, tmp_path):
    results = [make_benchmark(name, systems=("first stage", "headrank", "zero-shot")) for name in ("b", "a")]
    folder = write_folder(
        tmp_path / "run",
        [*results, make_benchmark("gone")],
        config="objective: mrr@10\nbenchmarks:\n  x: {name: b}\n  y: {name: a}\n",
        heads=heads,
        checkpoint__heads_json=json.dumps({"heads": [], "model": {"id": "Qwen/Qwen3-4B"}}),
        training__epochs_csv="epoch,train/loss,heads/depth\n0,1.5,\n1,1.25,12.0\n",
        facts_json=json.dumps({"my/system/b": {"seconds": 2.0}}),
    )
    run = read_results(folder)
    assert list(run.benchmarks) == results, "those of the configuration, in its order"
    assert (run.name, run.metric, run.main, run.before, run.model) == (
        "run",
        "mrr@10",
        "headrank",
        "zero-shot",
        "Qwen3-4B",
    )
    assert run.heads_before == json.loads(json.dumps(heads))
    assert run.epochs == ({"epoch": 0.0, "train/loss": 1.5}, {"epoch": 1.0, "train/loss": 1.25, "heads/depth": 12.0})
    assert run.passes == {("my/system", "b"): {"seconds": 2.0}}
    assert read_results(folder, results[:1], metric="ndcg@10").metric == "ndcg@10"


def test_what_alignment_left_of_an_earlier_run_is_not_read(make_benchmark, tmp_path):
    folder = write_folder(
        tmp_path / "run",
        [make_benchmark()],
        training__epochs_csv="epoch,train/loss\n0,1.5\n",
        checkpoint__heads_json=json.dumps({"heads": [{"layer": 9, "head": 9}]}),
    )
    run = read_results(folder)
    assert (run.before, run.epochs, run.heads) == (None, (), {"heads": []})
    assert run.metric == "ndcg@10"


def test_debug_benchmarks_take_the_place_of_the_others(make_benchmark, tmp_path):
    config = "benchmarks: {x: {name: b}}\ndebug: {benchmarks: {x: {name: a}}}\n"
    folder = write_folder(tmp_path / "run", [make_benchmark("a"), make_benchmark("b")], config=config)
    assert [result.name for result in read_results(folder).benchmarks] == ["a"]


def test_a_folder_without_results_is_named(tmp_path, make_benchmark):
    with pytest.raises(ValueError, match="empty holds no results"):
        read_results(tmp_path / "empty")
    with pytest.raises(ValueError, match="run: metric 'ndcg@5' was not measured"):
        read_results(write_folder(tmp_path / "run", [make_benchmark()], config="objective: ndcg@5"))


def test_labels_tell_runs_apart(make_run):
    models = [make_run(name=name, heads={"model": {"id": model}}) for name, model in (("a", "x/m"), ("b", "n/"))]
    assert run_labels(models) == ["m", "n"]
    assert run_labels([models[0], make_run(name="c", heads=models[0].heads)]) == ["a", "c"]
