"""Jobs on a Ray cluster of this machine; what no node has is refused instead of waited for."""

import sys

import pytest
from hydra.errors import HydraException

from headrank.extras import MissingExtraError
from hydra_plugins.headrank_launchers.ray_jobs import RayLauncher, check_resources
from tests.sweeping import sweeper
from tests.test_sweepers import app, calls  # noqa: F401 (app is a fixture)


def test_resources_that_are_not_there_are_refused():
    check_resources({"num_cpus": 1, "num_gpus": 0}, {"CPU": 2.0})
    check_resources({"num_cpus": 2, "num_gpus": 0.5}, {"CPU": 2.0, "GPU": 1.0})
    with pytest.raises(HydraException, match=r"remote\.num_gpus is 1"):
        check_resources({"num_cpus": 1, "num_gpus": 1}, {"CPU": 2.0})
    with pytest.raises(HydraException, match=r"remote\.num_cpus is 4"):
        check_resources({"num_cpus": 4}, {"CPU": 2.0})


@pytest.mark.parametrize(("name", "gpus"), [("ray_cpu", 0), ("ray_gpu", 1)])
def test_the_configuration_makes_the_launcher(name, gpus):
    with sweeper("seed=0,1", "hydra/sweeper=study", f"hydra/launcher={name}") as (made, _):
        assert type(made.launcher).__qualname__ == RayLauncher.__qualname__  # Hydra imports its plugins a second time
        assert made.launcher.remote == {"num_cpus": 1, "num_gpus": gpus}
        assert made.launcher.init == {"address": None}


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"\[ray\]"):
        RayLauncher({}, {}).launch([], 0)


@pytest.mark.slow
def test_jobs_run_on_ray_and_a_failed_one_stops_no_other(app):  # noqa: F811
    pytest.importorskip("ray")
    run, folder = app("study", params={"x": "0.0,0.1,0.2"})
    (folder / "faulty").touch()
    said = run("hydra/launcher=ray_cpu", "limit=0.1", ok=False)
    assert set(calls(folder)) == {f"x-{x}__limit-0.1" for x in ("0.0", "0.1", "0.2")}
    assert "1 of 3 jobs failed" in said
    assert "hydra.launcher.remote.num_gpus is 1" in run("hydra/launcher=ray_gpu", ok=False)
