"""The stage that explains examples: the queries of each benchmark that the main system changed most.

The reference is the system before alignment or, without alignment, the first stage, which has no explanation.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from headrank.evaluation import BenchmarkResult
from headrank.evaluation.examples import FOLDER, Example, ExplainedRanking, largest_changes, write_examples
from headrank.experiment import FIRST_STAGE_SYSTEM, MAIN_SYSTEM, UNALIGNED_SYSTEM
from headrank.heads import HeadsFile
from headrank.io.artifacts import RunFolder, artifact_key
from headrank.model import BackboneSettings
from headrank.model.batching import free_memory, is_out_of_memory
from headrank.model.explain import explain_list
from headrank.ranking import CandidateList
from headrank.stages.lists import BenchmarkData
from headrank.stages.rerank import RerankStage

logger = logging.getLogger(__name__)

FORMAT = 1
TOP = 3  # passages explained per ranking


class ExplainedSystem(NamedTuple):
    """A system that reads attention: its model, its heads with prompt and scorer, and the key of its run."""

    model: BackboneSettings
    heads: HeadsFile
    run_key: str


class ExampleStage:
    """Writes `examples/<benchmark>.json`.

    Args:
        folder: the run folder.
        rerank: the rerank stage, which loads the models.
        metric: the metric that is compared.
        count: the number of gains, and of losses, per benchmark; 0: no examples are made.
    """

    def __init__(self, folder: RunFolder, rerank: RerankStage, *, metric: str, count: int) -> None:
        self.folder, self.rerank, self.metric, self.count = folder, rerank, metric, count

    def run(self, systems: Mapping[str, ExplainedSystem], benchmark: BenchmarkData, result: BenchmarkResult) -> None:
        """Explain the examples of a benchmark, unless a file with the same key exists.

        Args:
            systems: the main system and, with alignment, the system before it, by name.
            benchmark: the lists and judgements.
            result: the benchmark's results.
        """
        name = benchmark.settings.name
        reference = UNALIGNED_SYSTEM if UNALIGNED_SYSTEM in systems else FIRST_STAGE_SYSTEM
        ids = largest_changes(result, self.metric, MAIN_SYSTEM, reference, self.count)
        lists = {item.query.id: item for item in benchmark.candidates.lists}
        chosen = [lists[query_id] for query_id in ids if query_id in lists]
        qrels = benchmark.collection.qrels
        used = [systems[one] for one in (UNALIGNED_SYSTEM, MAIN_SYSTEM) if one in systems]
        judged = {item.query.id: qrels.get(item.query.id, {}) for item in chosen}
        values = {name: _values(result, self.metric, name) for name in (*systems, reference)}
        numbers = [[item.query.id, *(values[name][item.query.id] for name in values)] for item in chosen]
        key = artifact_key(
            "examples", FORMAT, TOP, self.metric, reference, [one.run_key for one in used], judged, numbers
        )

        def write(path: Path) -> None:
            of_system = {
                one: self._explain(one, systems[one], chosen, judged, values[one])
                for one in (UNALIGNED_SYSTEM, MAIN_SYSTEM)
                if one in systems and chosen
            }
            examples = tuple(
                Example(
                    item.query.id,
                    item.query.text,
                    self.metric,
                    reference,
                    values[reference][item.query.id],
                    tuple(rankings[n] for rankings in of_system.values()),
                )
                for n, item in enumerate(chosen)
            )
            write_examples(path, examples)

        file = f"{FOLDER}/{name}.json"
        try:
            written = self.folder.make(file, key, write)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            free_memory()
            (self.folder.path / file).unlink(missing_ok=True)
            logger.warning("explain: no examples of %s, because memory ran out: %s", name, error)
            return
        logger.info("explain: %d examples of %s %s", len(chosen), name, "written" if written else "reused")

    def _explain(
        self,
        name: str,
        system: ExplainedSystem,
        lists: Sequence[CandidateList],
        judged: Mapping[str, Mapping[str, int]],
        values: Mapping[str, float],
    ) -> list[ExplainedRanking]:
        scorer = self.rerank.scorer(system.model, system.heads)
        rankings = []
        for item in lists:
            (scored,) = scorer.score([item])  # alone, as it is explained: in a batch bf16 scores differ a little
            explanation = explain_list(scorer, item, scored, top_k=TOP)
            grades = judged[item.query.id]
            shown = {one.id: grades[one.id] for one in explanation.passages if one.id in grades}
            rankings.append(ExplainedRanking(name, values[item.query.id], shown, explanation))
        return rankings


def _values(result: BenchmarkResult, metric: str, system: str) -> dict[str, Any]:
    """Query id -> the system's metric."""
    return dict(zip(result.query_ids, result.systems[system].per_query[metric], strict=True))
