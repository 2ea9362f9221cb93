import os
import re

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from hydra_plugins.headrank_sweepers.job_names import LONGEST, job_name


@pytest.mark.parametrize(
    ("overrides", "swept", "name"),
    [
        ([], [], "default"),
        (["+experiment=nano"], [], "default"),
        (["+experiment=nano"], ["experiment"], "experiment-nano"),
        (["+experiment=nano", "name=x"], [], "experiment-nano"),
        (["+experiment=nano", "name=x"], ["name"], "name-x__experiment-nano"),
        (["seed=1", "+ablation=no_entropy"], [], "ablation-no_entropy__seed-1"),
        (["+ablation=no_entropy", "seed=1", "paths.output=/x"], ["seed"], "seed-1__ablation-no_entropy"),
        (["alignment.optimizer.lr=2e-05", "scorer.power=-0.5"], [], "alignment.optimizer.lr-2e-05__scorer.power--0.5"),
        (["~benchmarks.fever"], [], "without-benchmarks.fever"),
    ],
)
def test_plain_overrides_make_plain_names_swept_keys_first(overrides, swept, name):
    assert job_name(overrides, swept) == name
    assert job_name(overrides[::-1], swept) == name, "in any order"


VALUES = [
    ["scorer.power=-7"], ["scorer.power=7"], ["scorer.power=--7"], ["scorer.power=+7"], ["x=a", "y=b"], ["x=a__y-b"],
    ["x=a_", "y=b"], ["x=a", "_y=b"], ["x=a-y-b"], ["x=[a,b]"], ["x=a+b"], ["x='a,b'"], ["x='a b'"], ["x=a/b"],
    ["x=/a/b"], ["x=../a"], ["x=a-b"], ["x=''"], ["x=null"], ["x={a:1}"], ["x=A"], ["~x"], ["~x=a"], ["x=A,a"],
    ["model.model=/models/Qwen3-4B"], ["model.model=models/Qwen3-4B"], ["model.model=models-Qwen3-4B"],
    ["x=üb"], ["x=b"], ["x=${seed}"],
]  # fmt: skip


def test_different_overrides_have_different_names_that_need_no_quotes():
    names = [job_name(overrides) for overrides in VALUES]
    assert len(set(names)) == len(VALUES)
    for name in names:
        assert re.fullmatch(r"\w[\w.+-]*", name, re.ASCII), name
        override = OverridesParser.create().parse_override(f"name=outputs/{name}/heads.json")
        assert override.value() == f"outputs/{name}/heads.json"
        assert not override.is_sweep_override()


def test_long_names_are_cut_and_differ(tmp_path):
    long = [f"alignment.option_{n}={n}" for n in range(60)]
    first, second = job_name(long), job_name([*long[:-1], "alignment.option_59=other"])
    assert len(first) == len(second) == LONGEST
    assert first != second
    os.mkdir(tmp_path / job_name([f"x={'ü' * 400}"]))
