"""The command line of the doctor: what an experiment needs, and what of it is there.

python -m headrank.doctor +experiment=qwen3_4b                          overrides as for headrank.run
python -m headrank.doctor +experiment=qwen3_4b benchmarks=beir14 --json

| exit code | meaning |
| --- | --- |
| 0 | all is there, or made by the first run of what is there |
| 1 | something is missing |
| 2 | the configuration is bad |

Nothing is downloaded, loaded, built or written, and no network is asked.
"""

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_TRUE = {"1", "ON", "YES", "TRUE"}  # what huggingface_hub takes for yes


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the findings; the exit code."""
    parser = argparse.ArgumentParser(
        prog="headrank-doctor", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("overrides", nargs="*", help="as for headrank.run: +experiment=NAME, group=option, key=value")
    parser.add_argument("--json", action="store_true", help="findings as JSON")
    options = parser.parse_args(arguments)
    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in _TRUE
    os.environ["HF_HUB_OFFLINE"] = "1"  # before its import: the doctor asks no network

    from headrank.doctor.examine import examine, unchecked
    from headrank.doctor.packages import package_findings
    from headrank.logs import set_up_logging

    set_up_logging(logging.WARNING)

    try:
        config, extras = _compose(options.overrides)
    except ModuleNotFoundError as error:
        return _say(options.json, None, [*package_findings(set()), unchecked("everything else", error)])
    except Exception as error:
        return _bad(options.json, error)
    findings = package_findings(extras)
    try:
        from headrank.run import experiment_from_config

        experiment = experiment_from_config(config, Path(config.paths.output) / config.name)
        findings += examine(experiment, offline=offline)
    except ModuleNotFoundError as error:
        findings.append(unchecked("everything else", error))
    except (ValueError, FileNotFoundError) as error:
        return _bad(options.json, error)
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, ModuleNotFoundError):
            cause = cause.__cause__  # Hydra reports what a setting's own import raises
        if isinstance(cause, ModuleNotFoundError):
            findings.append(unchecked("everything else", cause))
        elif type(error).__module__.split(".")[0] in ("hydra", "omegaconf"):
            return _bad(options.json, error)
        else:
            raise
    return _say(options.json, config.name, findings)


def _compose(overrides: Sequence[str]) -> tuple[Any, set[str]]:
    """The configuration without Hydra's part, and the extras that it needs."""
    from omegaconf import OmegaConf

    from headrank.extras import LAUNCHERS, needed_extras
    from headrank.run import compose_config

    launcher = "hydra/launcher="
    extras = {LAUNCHERS.get(word.removeprefix(launcher), "") for word in overrides if word.startswith(launcher)}
    words = [word for word in overrides if not word.startswith(launcher)]  # whose plugin may be missing
    config = compose_config(words, with_hydra=True)
    extras |= set(needed_extras(config))
    OmegaConf.set_struct(config, False)
    del config["hydra"]
    return config, extras - {""}


def _say(as_json: bool, name: str | None, findings: list[Any]) -> int:
    from headrank.doctor.findings import as_text, exit_code

    code = exit_code(findings)
    if as_json:
        print(
            json.dumps(
                {"experiment": name, "exit_code": code, "findings": [one.to_dict() for one in findings]}, indent=1
            )
        )
    else:
        print(as_text(findings))
    return code


def _bad(as_json: bool, error: Exception) -> int:
    from headrank.errors import ConfigError

    cause = f"; {error.__cause__}" if error.__cause__ and not isinstance(error, ConfigError) else ""
    if as_json:
        print(json.dumps({"experiment": None, "exit_code": 2, "error": f"{error}{cause}"}, indent=1))
    print(f"bad configuration: {error}{cause}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
