"""The command `headrank` itself: help, version, forwarding, start-up time."""

import subprocess
import sys
from importlib.metadata import version

import pytest

COMMANDS = ["run", "doctor", "report", "prompts", "dashboard", "rerank", "explain", "serve", "prepare"]


def headrank(*arguments, code=0):
    done = subprocess.run(
        [sys.executable, "-m", "headrank.cli.main", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == code, done.stderr
    return done


def test_help_and_version():
    text = headrank("--help").stdout
    assert all(f" {name} " in text for name in COMMANDS)
    assert headrank("--version").stdout.strip() == f"headrank {version('headrank')}"


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_its_help(name):
    text = headrank(name, "--help").stdout
    assert "headrank" in text
    assert name in text


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], *([name, "--help"] for name in ("rerank", "explain", "prepare", "serve"))]
)
def test_nothing_heavy_is_imported_for_help(arguments):
    """Packages that take long to import; the time itself depends on the machine."""
    code = (
        f"import sys\nsys.argv = ['headrank', *{arguments!r}]\nfrom headrank.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'fastapi', 'torch', 'transformers', 'hydra', 'numpy', 'pandas', 'lightning'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=120)


def test_arguments_reach_the_module():
    assert "name: nano" in headrank("run", "--cfg", "job", "+experiment=nano").stdout
    assert "unknown" in headrank("prompts", "--system", "nobody", code=2).stderr
    assert "no/such/folder" in headrank("report", "no/such/folder", code=1).stderr


def test_an_override_without_a_subcommand():
    assert "headrank run +experiment=nano" in headrank("+experiment=nano", code=2).stderr
