"""Write stand-ins of every collection in `conf/`, in the formats and folders that ir_datasets uses.

    python scripts/make_stand_ins.py /tmp/irds
    export IR_DATASETS_HOME=/tmp/irds IR_DATASETS_SKIP_DISK_FREE=true

The texts are synthetic, from a random vocabulary. They show that an experiment runs; its results are meaningless.
"""

import argparse
import os
import sys
from pathlib import Path


def make_stand_ins(home: Path, *, queries: int, seed: int) -> list[str]:
    """Write the files of all configured ids to `home` and return the ids.

    Raises:
        FileExistsError: if `home` is not empty (ir_datasets would mix old and new files).
        ValueError: for an id of a family without stand-in.
    """
    if home.exists() and any(home.iterdir()):
        raise FileExistsError(f"{home} is not empty; expected a new folder")
    home.mkdir(parents=True, exist_ok=True)
    os.environ["IR_DATASETS_HOME"] = str(home)  # read when ir_datasets is imported
    import ir_datasets
    from stand_ins import beir, msmarco
    from stand_ins.ids import DownloadPaths, configured_ids

    place, ids = DownloadPaths(home), configured_ids()
    families: dict[str, dict[str, None]] = {}
    for dataset_id in ids:
        family, _, rest = dataset_id.partition("/")
        if family == "beir":
            rest = rest if rest.endswith("/v2") else rest.split("/")[0]  # without its split
        families.setdefault(family, {})[rest.removesuffix("/judged")] = None
    for family, names in families.items():
        if family == "msmarco-passage":
            msmarco.write_v1(place, home, list(names), queries=queries, seed=seed)
        elif family == "msmarco-passage-v2":
            msmarco.write_v2(place, list(names), queries=queries, seed=seed)
        elif family == "beir":
            for name in names:
                dataset = ir_datasets.load(f"beir/{name}")
                fields = {"doc_fields": dataset.docs_cls()._fields, "query_fields": dataset.queries_cls()._fields}
                beir.write_beir(place("beir", name), name, **fields, queries=queries, seed=seed)
        else:
            raise ValueError(f"no stand-in for the ir_datasets ids of {family!r} ({', '.join(names)})")
    return ids


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a new folder, the IR_DATASETS_HOME of the rehearsal")
    parser.add_argument("--queries", type=int, default=8, help="judged queries of each id (default: 8)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.queries < 1:
        parser.error(f"--queries is {options.queries}, expected 1 or more")
    try:
        ids = make_stand_ins(options.folder.resolve(), queries=options.queries, seed=options.seed)
    except (FileExistsError, ValueError) as error:
        sys.exit(str(error))
    print(f"{len(ids)} ids: {', '.join(ids)}")
    print(f"export IR_DATASETS_HOME={options.folder.resolve()} IR_DATASETS_SKIP_DISK_FREE=true")


if __name__ == "__main__":
    main()
