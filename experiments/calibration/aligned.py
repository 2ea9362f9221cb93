"""Compare maps fitted on an aligned model's training lists and on its held-out lists. See README.md."""

import sys
from pathlib import Path

from experiments.calibration.measure import Labelled, calibrated, quality
from headrank.data import DataSettings, load_collection, load_data, read_run
from headrank.data.labelled import split
from headrank.heads import HeadsFile

VALIDATION = 8  # alignment.validation_queries of the run; its seed is 0


def lists(folder: Path, system: str, benchmark: str, source: str, query_ids: set[str] | None = None) -> Labelled:
    """Return z and relevance (grade 2 or more) of the candidate lists of a run.

    Args:
        folder: the run folder.
        system: the system whose run is read.
        benchmark: the benchmark whose run is read.
        source: the collection with the judgements.
        query_ids: the queries to return; None: all of the run.
    """
    qrels = load_collection(source).qrels
    return [
        (list(ranking.scores), [qrels[query_id].get(passage, 0) >= 2 for passage in ranking.passage_ids])
        for query_id, ranking in sorted(read_run(folder / "runs" / system / f"{benchmark}.trec").items())
        if query_ids is None or query_id in query_ids
    ]


def main() -> None:
    """Print a row per map."""
    folder = Path(sys.argv[1])
    data = load_data(DataSettings(name="train", collection="sample/train", depth=20, relevance_threshold=2))
    parts = split([one for one in data.labelled() if one.has_pairs], validation=VALIDATION, fraction=1.0, seed=0)
    training, held_out = ({one.item.query.id for one in part} for part in parts)
    for system in ("headrank", "zero-shot"):
        test = lists(folder, system, "sample-test", "sample/test")
        for name, ids in (("training", training), ("held out", held_out)):
            fitted_on = lists(folder, system, "sample-train", "sample/train", ids)
            found = calibrated(fitted_on, name)
            own, other = quality(fitted_on, found), quality(test, found)
            print(f"{system}, {name}: slope {found.slope:.2f}, own {own.brier:.4f}, {own.error:.3f}", end="; ")
            print(f"test {other.brier:.4f}, {other.error:.3f}, mean P {other.predicted:.3f}")
    stored = HeadsFile.load(folder / "checkpoint" / "heads.json").probability
    assert stored is not None
    found = quality(lists(folder, "headrank", "sample-test", "sample/test"), stored)
    print(f"stored: slope {stored.slope:.2f}; test {found.brier:.4f}, {found.error:.3f}, mean P {found.predicted:.3f}")


if __name__ == "__main__":
    main()
