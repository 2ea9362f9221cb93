"""Packages: installed, and within the ranges of pyproject.toml."""

import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from headrank.doctor.findings import Finding, State

_PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"
_INSTALL = "make install, or python -m pip install --constraint constraints.txt"


def requirements(extras: set[str]) -> Iterator[Requirement]:
    """What this project requires with those extras: by the checkout's pyproject.toml, else by installed metadata."""
    if _PYPROJECT.is_file():
        project = tomllib.loads(_PYPROJECT.read_text(encoding="utf-8"))["project"]
        listed = [
            *project["dependencies"],
            *(one for extra in sorted(extras) for one in project["optional-dependencies"][extra]),
        ]
        yield from (Requirement(one) for one in listed)
        return
    for one in metadata.requires("headrank") or ():
        requirement = Requirement(one)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield requirement


def package_findings(extras: set[str]) -> list[Finding]:
    """One finding for all packages that are as wanted, and one for each that is not."""
    wanted = list(requirements(extras))
    findings: list[Finding] = []
    for one in wanted:
        extra = f" 'headrank[{','.join(sorted(extras))}]'" if extras else " headrank"
        try:
            version = metadata.version(one.name)
        except metadata.PackageNotFoundError:
            findings.append(
                Finding("packages", one.name, State.MISSING, f"not installed; wanted {one}", _INSTALL + extra)
            )
            continue
        if not one.specifier.contains(version, prereleases=True):
            found = f"{version} is installed; wanted {one.specifier}"
            findings.append(Finding("packages", one.name, State.MISSING, found, f"{_INSTALL} '{one}'"))
    fine = len(wanted) - len(findings)
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "transformers") if _installed(name))
    return [
        Finding(
            "packages", "all others" if findings else "all", State.THERE, f"{fine} within their ranges; {versions}"
        ),
        *findings,
    ]


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True
