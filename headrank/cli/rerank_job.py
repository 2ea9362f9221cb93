"""Do the work of `headrank rerank`: read candidate lists step by step, rerank them and write the results."""

import itertools
import logging
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from headrank.cli.candidates import Files, run_database
from headrank.cli.output import ResumableOutput, json_text
from headrank.data.parsing import id_fault
from headrank.data.requests import read_requests
from headrank.data.trec import ranking_lines
from headrank.errors import ConfigError, FormatError, ModelError
from headrank.io.artifacts import artifact_key
from headrank.logs import Progress, counts_text
from headrank.model.identity import loaded_fingerprint
from headrank.ranking import CandidateList, RankedPassage, Ranking
from headrank.reranker import Reranker, RerankResult

STEP = 32  # lists that are reranked, written and recorded together
OURS = ("rank", "score", "first_stage_score", "truncated", "probability")  # what the output says of a candidate

logger = logging.getLogger("headrank")


@dataclass(frozen=True, slots=True)
class Item:
    """A candidate list that was read from the input files.

    raw: passage id -> the candidate's JSON object in the request; empty if the list does not come from requests.
    """

    candidates: CandidateList
    raw: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Source:
    """The input files: queries, passages and a run, or requests.

    requests: a JSONL file in which each line has a query and its candidates; `-` is stdin.
    depth: the number of candidates per query that are reranked, from the first; None: all.
    skip_invalid: whether malformed lines of the requests are counted and skipped.

    Raises `ConfigError` if files are missing or too many are given, or `skip_invalid` is set without requests.
    """

    queries: Path | None
    docs: Path | None
    run: Path | None
    requests: str | None
    depth: int | None = None
    skip_invalid: bool = False

    def __post_init__(self) -> None:
        names = {"--queries": self.queries, "--docs": self.docs, "--run": self.run}
        given = [name for name, path in names.items() if path is not None]
        if self.requests is not None and given:
            raise ConfigError(f"--requests and {', '.join(given)}: expected one of the two forms of input")
        if self.requests is None and len(given) < len(names):
            missing = ", ".join(name for name in names if name not in given)
            raise ConfigError(f"{missing}: expected --queries, --docs and --run, or --requests")
        if self.skip_invalid and self.requests is None:
            raise ConfigError("--skip-invalid goes with --requests")

    @property
    def identity(self) -> list[Any]:
        """The values that identify the input: paths, sizes and times of the files, `depth`, `skip_invalid`.

        Stdin has a new random value each time, so that its output is never continued.
        """
        paths = [Path(path) for path in (self.queries, self.docs, self.run, self.requests) if path not in (None, "-")]
        found = [(path.resolve(), path.stat()) for path in paths if path.exists()]
        files = [[str(path), s.st_size, s.st_mtime_ns] for path, s in found]
        return [files, self.depth, self.skip_invalid, uuid.uuid4().hex if self.requests == "-" else ""]

    @contextmanager
    def items(self, start: int, skipped: "Skipped") -> Iterator[tuple[Iterator[Item], int | None]]:
        """Open the input within the context: an iterator of its candidate lists, and the number of all lists.

        The number is None for requests, which are counted only when they are read.

        start: the number of lists to skip.
        skipped: called with the errors of skipped lines.
        """
        if self.queries is not None and self.docs is not None and self.run is not None:
            with run_database(Files(self.queries, self.docs, self.run), self.depth) as found:
                yield (Item(item, {}) for item in found.lists(start)), len(found)
            return
        assert self.requests is not None
        source = sys.stdin.buffer if self.requests == "-" else self.requests
        requests = read_requests(source, on_invalid=skipped if self.skip_invalid else None)
        items = (
            Item(
                request.candidate_list if self.depth is None else request.candidate_list.top(self.depth),
                {one.passage.id: one.raw for one in request.candidates},
            )
            for request in requests
        )
        yield itertools.islice(items, start, None), None


class Skipped:
    """Counts the invalid lines of the requests and logs the first of them."""

    count = 0

    def __call__(self, error: FormatError) -> None:
        """Count the error."""
        self.count += 1
        if self.count == 1:
            logger.warning("%s; this line and further invalid ones are skipped and counted", error)


@dataclass(frozen=True, slots=True)
class RerankJob:
    """One call of `headrank rerank`; the fields are its options. `output` is None for stdout."""

    model: str
    source: Source
    output: Path | None
    heads: str | None = None
    top_k: int | None = None
    device: str = "auto"
    dtype: str = "float32"
    tag: str = "headrank"
    jsonl: bool = False
    overwrite: bool = False
    fuse: bool | None = None

    def main(self) -> None:
        """Rerank all lists, or those that an interrupted call left, and complete the output.

        Raises `ConfigError` for an existing output, `FormatError` for malformed input, and what
        `Reranker.from_pretrained` raises.
        """
        if fault := id_fault(self.tag):
            raise ConfigError(f"--tag is {self.tag!r}, which {fault}; expected a word")
        reranker = Reranker.from_pretrained(
            self.model, self.heads, dtype=self.dtype, device=self.device, fuse=self.fuse
        )
        target = ResumableOutput(self.output, self._key(reranker), overwrite=self.overwrite)
        try:
            self._rerank(reranker, target)
            target.finish()
        finally:
            target.close()

    def _key(self, reranker: Reranker) -> str:
        model = reranker.backbone.settings
        weights = loaded_fingerprint(reranker.backbone.model, reranker.backbone.depth)
        files = self.source.identity
        program = ("rerank", version("headrank"), STEP, self.device)
        return artifact_key(program, model, weights, reranker.heads.to_dict(), files, self.top_k, self.tag, self.jsonl)

    def _rerank(self, reranker: Reranker, target: ResumableOutput) -> None:
        counts = {"lists": 0, "passages": 0, "cut": 0, **target.state}
        start, skipped, seen = counts["lists"], Skipped(), set[str]()
        if start:
            logger.info("%s: continued after %d lists", self.output, start)
        with self.source.items(0 if self._needs_ids else start, skipped) as (items, total):
            if self._needs_ids:
                for item in itertools.islice(items, start):
                    seen.add(item.candidates.query.id)
            with Progress(total, "rerank", "list", initial=start) as progress:
                while part := list(itertools.islice(items, STEP)):
                    for item in part if self._needs_ids else ():
                        _refuse_repeated(item.candidates.query.id, seen)
                    lists = [(item.candidates.query.text, item.candidates.passages) for item in part]
                    try:
                        results = reranker.rank_many(lists)
                    except ModelError as error:  # it numbers the lists of this step
                        first, last = (part[i].candidates.query.id for i in (0, -1))
                        raise ModelError(f"{error} (queries are numbered from 0 = {first!r} to {last!r})") from error
                    counts["lists"] += len(part)
                    counts["passages"] += sum(map(len, results))
                    counts["cut"] += sum(result.truncated for ranked in results for result in ranked)
                    text = "".join(
                        self._text(item, ranked[: self.top_k]) for item, ranked in zip(part, results, strict=True)
                    )
                    target.write(text, counts)
                    progress.update(len(part))
        if not counts["lists"]:
            logger.warning("the input holds no list; the output is empty")
        logger.info(
            "%d lists, %d passages%s",
            *(counts["lists"], counts["passages"]),
            counts_text(
                (counts["cut"], "passages cut to max_passage_tokens"), (skipped.count, "invalid lines skipped")
            ),
        )

    @property
    def _needs_ids(self) -> bool:
        """Whether a repeated query id must be found: a TREC run from requests would mix the lists of two queries."""
        return self.source.requests is not None and not self.jsonl

    def _text(self, item: Item, ranked: Sequence[RerankResult]) -> str:
        query = item.candidates.query
        if not self.jsonl:
            results = tuple(RankedPassage(one.id, one.score, one.rank) for one in ranked)
            return "".join(ranking_lines(Ranking(query.id, results), self.tag)[0])
        first = dict(zip(item.candidates.passage_ids, item.candidates.first_stage_scores or (), strict=False))
        candidates = []
        for one in ranked:
            raw = item.raw.get(one.id, {"docid": one.id, "doc": {"text": one.text}})
            raw = {name: value for name, value in raw.items() if name not in OURS}  # of an earlier reranker
            before = {"first_stage_score": first[one.id]} if one.id in first else {}
            more = before | ({"truncated": True} if one.truncated else {})
            more |= {} if one.probability is None else {"probability": one.probability}
            candidates.append({**raw, "docid": one.id, "rank": one.rank, "score": one.score, **more})
        record = {"query": {"qid": query.id, "text": query.text}, "candidates": candidates}
        return json_text(record)


def _refuse_repeated(query_id: str, seen: set[str]) -> None:
    if query_id in seen:
        raise FormatError(
            f"query {query_id!r} has two requests; a TREC run holds one list per query: write JSONL (--format jsonl)"
        )
    seen.add(query_id)
