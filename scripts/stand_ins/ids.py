"""The ir_datasets ids in `conf/`, and the paths of their files in ir_datasets."""

import json
import pkgutil
from pathlib import Path

import yaml

CONF = Path(__file__).parents[2] / "conf"


def configured_ids(conf: Path = CONF) -> list[str]:
    """Every ir_datasets id among the collections of `conf/benchmarks` and `conf/data`, sorted."""
    ids = set()
    for group in ("benchmarks", "data"):
        for file in sorted((conf / group).glob("*.yaml")):
            for settings in (yaml.safe_load(file.read_text(encoding="utf-8")) or {}).values():
                collection = settings.get("collection") if isinstance(settings, dict) else None
                if collection and collection != "???" and not collection.startswith("sample/"):
                    ids.add(collection)
    return sorted(ids)


class DownloadPaths:
    """The paths where ir_datasets looks for a file before it downloads it."""

    def __init__(self, home: Path) -> None:
        content = pkgutil.get_data("ir_datasets", "etc/downloads.json")
        assert content is not None
        self._home, self._downloads = home, json.loads(content)

    def __call__(self, group: str, name: str) -> Path:
        """The path of download `name` of `group` (such as `beir`, `scifact`); its folder is made.

        Raises `KeyError` if ir_datasets has no such download, or keeps it under its checksum alone.
        """
        path = self._home / group / self._downloads[group][name]["cache_path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        return path
