"""The dashboard's definition, built and written as JSON offline: every panel shows what a run really logs."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from headrank.dashboard import main
from headrank.run import CONFIG_FOLDER, experiment_from_config
from headrank.tracking.panels import Kind, dashboard_sections
from tests.tracking.conftest import WORDS
from tests.tracking.offline import offline_runs


def printed(capsys, *words: str) -> dict[str, Any]:
    main(["--print", "--entity", "team", "--project", "test", *words])
    return json.loads(capsys.readouterr().out)


def panels(definition: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for section in definition["spec"]["section"]["panelBankConfig"]["sections"]:
        for panel in section["panels"]:
            yield section["name"], panel


def keys(panel: dict[str, Any]) -> list[str]:
    """The keys that a panel of the JSON shows."""
    config = panel["config"]
    if panel["viewType"] == "Weave":  # a table: the key that is picked out of each run's summary
        return [config["panel2Config"]["exp"]["fromOp"]["inputs"]["key"]["val"]]
    axes = [config[axis] for axis in ("xAxis", "yAxis") if axis in config]
    if panel["viewType"] == "Scatter Plot":
        assert all(axis.startswith("summary:") for axis in axes)
        axes = [axis.removeprefix("summary:") for axis in axes]
    return [*axes, *config.get("metrics", []), *config.get("mediaKeys", [])]


def test_no_panel_shows_a_key_that_no_run_logs(tracked, capsys):
    definition = printed(capsys, *WORDS)
    run = offline_runs(tracked.folder)[0]
    shown = {key for _, panel in panels(definition) for key in keys(panel)}
    assert len(shown) > 40
    assert shown - run.logged().keys() == set()
    pinned = definition["spec"]["section"]["runSets"][0]["runFeed"]["columnOrder"]
    assert pinned[0] == "run:displayName"
    assert {name.removeprefix("summary:") for name in pinned[1:]} <= run.summary.keys()
    assert len(pinned) == 5


def test_what_has_to_be_there_is_there(capsys):
    definition = printed(capsys, *WORDS)
    by_section: dict[str, list[list[str]]] = {}
    for name, panel in panels(definition):
        by_section.setdefault(name, []).append(keys(panel))
    systems = ("first_stage", "headrank", "zero_shot", "icr")
    assert by_section["Middle zone"][:3] == [
        [f"pooled_selectivity/{system}/difference" for system in systems],
        [f"selectivity/sample_test/{system}/difference" for system in systems],
        ["position", *(f"positions/sample_test/{system}/difference" for system in systems)],
    ]
    assert [f"metrics/sample_test/{system}/ndcg_10" for system in systems] in by_section["Ranking"]
    assert [f"homogenization/sample_test/{system}/entropy" for system in systems] in by_section["Homogenization"]
    assert ["model/parameters", "pooled_selectivity/headrank/difference"] in by_section["Scale"]
    assert by_section["Alignment"] == [
        ["epoch", "train/loss", "train/preference", "train/graded_kl"],
        ["epoch", "val/ndcg_10"],
        ["epoch", "val/selectivity"],
        ["epoch", "heads/overlap"],
        ["epoch", "heads/depth"],
    ]
    assert (definition["entity"], definition["project"]) == ("team", "test")


def sections(*words: str):
    with initialize_config_dir(config_dir=str(CONFIG_FOLDER), version_base="1.3"):
        return dashboard_sections(experiment_from_config(compose("config", list(words)), Path("unused")))


def test_panels_follow_the_experiment():
    plain = {section.name: section.panels for section in sections("+experiment=qwen3_4b", "alignment=none")}
    assert "Alignment" not in plain
    assert not any("zero_shot" in key for panels in plain.values() for panel in panels for key in panel.keys)
    bars = [panel.title for panel in plain["Ranking"] if panel.kind is Kind.BARS]
    assert len(bars) == 15
    assert bars[:3] == ["ndcg@10, mean over benchmarks", "ndcg@10, trec-dl-2019", "ndcg@10, trec-dl-2020"]
    weights = {section.name: section.panels for section in sections("alignment=head_weights", "loss=infonce")}
    titles = [panel.title for panel in weights["Alignment"]]
    assert titles == ["Training losses", "nDCG@10 on held-out queries", "Selectivity on held-out queries"]
    assert weights["Alignment"][0].keys == ("train/loss", "train/infonce")


def test_the_command_line_says_what_is_wrong(capsys):
    for words, said in (
        (["+experiment=nano"], "--entity"),
        (["--print", "+experiment=nono"], "qwen3_0_6b"),
        (["--print", "data=[local]"], "data.local.collection=VALUE"),
    ):
        with pytest.raises(SystemExit) as stopped:
            main(words)
        assert stopped.value.code == 2
        assert said in capsys.readouterr().err


def test_without_an_account_saving_says_so(no_network, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    with pytest.raises(SystemExit) as stopped:
        main(["--entity", "team", "+experiment=nano"])
    assert stopped.value.code == 1
    assert "could not be saved in W&B" in capsys.readouterr().err
