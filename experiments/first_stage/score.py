"""Measure nDCG@10 of first stages over the full qrels. A source is a collection (BM25) or a folder with one run."""

import argparse
from pathlib import Path

from headrank.data import first_stage_run, load_collection, select_queries
from headrank.evaluation import mean, score_queries
from headrank.io.cache import cache_folder

DEPTH = 100  # enough for nDCG@10


def main() -> None:
    """Print one line per source."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sources", nargs="+")
    for source in parser.parse_args().sources:
        collection = load_collection(source)
        kind = "run" if len(collection.runs) == 1 else "bm25"
        run = first_stage_run(
            collection, kind=kind, depth=DEPTH, drop_identical_ids="arguana" in source, cache_dir=cache_folder()
        )
        ids = [query.id for query in select_queries(collection)]
        values = score_queries(run, collection.qrels, query_ids=ids, metrics=["ndcg@10"])["ndcg@10"]
        print(
            f"{Path(source).name if kind == 'run' else source} ({kind}): nDCG@10 {mean(values):.4f}, {len(ids)} queries"
        )


if __name__ == "__main__":
    main()
