"""Check whether packages are installed, in versions within the ranges of pyproject.toml."""

import tomllib
from collections.abc import Iterator
from importlib import metadata

from packaging.requirements import Requirement

from headrank.doctor.findings import Finding, State
from headrank.extras import PYPROJECT, install_command


def requirements(extras: set[str]) -> Iterator[Requirement]:
    """Yield the requirements of this project and of these extras.

    They are read from the checkout's pyproject.toml, or else from the installed package's metadata.
    """
    if PYPROJECT.is_file():
        project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
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
    """Check the installed versions of all required packages, including those of the extras.

    Returns:
        One finding for all packages in their version ranges, and one per package that is missing or has another
        version.
    """
    findings: list[Finding] = []
    checked = 0
    for extra in ("", *sorted(extras)):
        base = {requirement.name for requirement in requirements(set())} if extra else set()
        for one in requirements({extra} if extra else set()):
            if one.name in base:
                continue
            checked += 1
            try:
                version = metadata.version(one.name)
            except metadata.PackageNotFoundError:
                belongs = f" (extra `{extra}`)" if extra else ""
                detail = f"not installed; expected {one.name}{one.specifier}{belongs}"
                findings.append(Finding("packages", one.name, State.MISSING, detail, install_command(extra)))
                continue
            if not one.specifier.contains(version, prereleases=True):
                found = f"{version} is installed; expected {one.specifier}"
                remedy = f"python -m pip install '{one.name}{one.specifier}'"
                findings.append(Finding("packages", one.name, State.MISSING, found, remedy))
    fine = checked - len(findings)
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "transformers") if _installed(name))
    return [
        Finding(
            "packages", "all others" if findings else "all", State.OK, f"{fine} in their version ranges; {versions}"
        ),
        *findings,
    ]


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True
