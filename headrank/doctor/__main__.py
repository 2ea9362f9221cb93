"""Report what an experiment needs, what is missing, and how to fix it.

python -m headrank.doctor +experiment=qwen3_4b                          overrides as for headrank.run
python -m headrank.doctor +experiment=qwen3_4b benchmarks=beir14 --json

| exit code | meaning |
| --- | --- |
| 0 | everything is available, or the first run makes it from available files |
| 1 | something is missing |
| 2 | the configuration is invalid |

The doctor downloads, loads, builds and writes nothing, and uses no network.
"""

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_TRUE = {"1", "ON", "YES", "TRUE"}  # values that huggingface_hub reads as true


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the findings and return the exit code.

    arguments: the command line without the program's name; None: that of this process.
    """
    parser = argparse.ArgumentParser(
        prog="headrank doctor", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("overrides", nargs="*", help="as for headrank.run: +experiment=NAME, group=option, key=value")
    parser.add_argument("--json", action="store_true", help="findings as JSON")
    parser.add_argument("--config-dir", help="a folder with further options, as for headrank.run")
    options = parser.parse_args(arguments)
    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in _TRUE
    os.environ["HF_HUB_OFFLINE"] = "1"  # before huggingface_hub is imported: the doctor uses no network

    from headrank.doctor.examine import examine, unchecked
    from headrank.doctor.packages import package_findings
    from headrank.logs import set_up_logging

    set_up_logging(logging.WARNING)

    try:
        config, extras = _compose(options.overrides, options.config_dir)
    except ModuleNotFoundError as error:
        return _print_findings(options.json, None, [*package_findings(set()), unchecked("everything else", error)])
    except Exception as error:
        return _print_error(options.json, error)
    findings = package_findings(extras)
    try:
        from headrank.run import experiment_from_config

        experiment = experiment_from_config(config, Path(config.paths.output) / config.name)
        findings += examine(experiment, offline=offline)
    except ModuleNotFoundError as error:
        findings.append(unchecked("everything else", error))
    except (ValueError, FileNotFoundError) as error:
        return _print_error(options.json, error)
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, ModuleNotFoundError):
            cause = cause.__cause__  # Hydra wraps exceptions of a setting's import
        if isinstance(cause, ModuleNotFoundError):
            findings.append(unchecked("everything else", cause))
        elif type(error).__module__.split(".")[0] in ("hydra", "omegaconf"):
            return _print_error(options.json, error)
        else:
            raise
    return _print_findings(options.json, config.name, findings)


def _compose(overrides: Sequence[str], config_dir: str | None) -> tuple[Any, set[str]]:
    """Compose the configuration without the `hydra` section, and collect the extras that it needs."""
    from omegaconf import OmegaConf

    from headrank.extras import LAUNCHERS, needed_extras
    from headrank.run import compose_config

    launcher = "hydra/launcher="
    extras = {LAUNCHERS.get(word.removeprefix(launcher), "") for word in overrides if word.startswith(launcher)}
    words = [word for word in overrides if not word.startswith(launcher)]  # the launcher's plugin may be missing
    config = compose_config(words, config_dir=config_dir, with_hydra=True)
    extras |= set(needed_extras(config))
    OmegaConf.set_struct(config, False)
    del config["hydra"]
    return config, extras - {""}


def _print_findings(as_json: bool, name: str | None, findings: list[Any]) -> int:
    from headrank.doctor.findings import as_text, exit_code

    code = exit_code(findings)
    if as_json:
        print(
            json.dumps(
                {"experiment": name, "exit_code": code, "findings": [finding.to_dict() for finding in findings]},
                indent=1,
            )
        )
    else:
        print(as_text(findings))
    return code


def _print_error(as_json: bool, error: Exception) -> int:
    from headrank.errors import ConfigError

    cause = f"; {error.__cause__}" if error.__cause__ and not isinstance(error, ConfigError) else ""
    if as_json:
        print(json.dumps({"experiment": None, "exit_code": 2, "error": f"{error}{cause}"}, indent=1))
    print(f"bad configuration: {error}{cause}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
