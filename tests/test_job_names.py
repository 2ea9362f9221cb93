import os

import pytest

from headrank.job_names import LONGEST, job_name


@pytest.mark.parametrize(
    ("overrides", "exclude", "name"),
    [
        ([], [], "default"),
        (["+experiment=nano"], ["experiment"], "default"),
        (["seed=1", "+ablation=no_entropy"], [], "ablation=no_entropy,seed=1"),
        (["+ablation=no_entropy", "seed=1"], ["experiment", "paths.output"], "ablation=no_entropy,seed=1"),
        (["alignment.lr=2e-05", "scorer.power=0.5"], [], "alignment.lr=2e-05,scorer.power=0.5"),
    ],
)
def test_plain_overrides_are_their_own_names(overrides, exclude, name):
    assert job_name(overrides, exclude) == name


def test_what_no_file_name_should_hold_is_replaced_and_kept_apart():
    names = [
        job_name([f"model.model={path}"]) for path in ("/models/Qwen3-4B", "models/Qwen3-4B", "models-Qwen3-4B", "../x")
    ]
    assert names[2] == "model.model=models-Qwen3-4B"
    assert all(name.startswith("model.model=models-Qwen3-4B-") for name in names[:2])
    assert len(set(names)) == 4
    for name in (*names, job_name(["data=[a,b]"]), job_name(["x='a b'"]), job_name(["~selection.criterion.weight"])):
        assert not set(name) & set("/\\[]{}'\" ~:*?<>|")
        assert not name.startswith((".", "-"))
    assert job_name(["data=[a,b]"]).startswith("data=a+b-")


def test_long_names_are_cut_and_differ(tmp_path):
    long = [f"alignment.option_{n}={n}" for n in range(60)]
    first, second = job_name(long), job_name([*long[:-1], "alignment.option_59=other"])
    assert len(first) == len(second) == LONGEST
    assert first != second
    os.mkdir(tmp_path / job_name([f"x={'ü' * 400}"]))
