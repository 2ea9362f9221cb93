"""The select stage: chooses heads on labelled lists and writes a heads file per system, and `head_curves.json`.

Only reading the head table (the scores of every head on every list) needs the model. The table is cached under its own
key, so another criterion, number of heads or calibration on the same lists needs no new forward pass.
"""

import json
import logging
from dataclasses import replace
from pathlib import Path

from headrank.data.labelled import usable_lists
from headrank.experiment import MAIN_SYSTEM, Experiment, SystemSettings
from headrank.heads import (
    EntropyRegularized,
    HeadsFile,
    HeadTable,
    ProbabilityCalibration,
    check_labels,
    choose_entropy_weight,
    cross_fitted_scores,
    fit_fusion,
    head_curves,
    heads_file,
    read_head_table,
    select_heads,
)
from headrank.heads.cross_fitting import CROSS_FITTED
from headrank.heads.fusion import MIN_LISTS
from headrank.heads.table import distinct_seeds
from headrank.io.artifacts import RunFolder, artifact_key
from headrank.io.cache import cache_lock
from headrank.io.checksums import checked_write, is_whole
from headrank.io.files import atomic_write, remove_leftovers
from headrank.logs import Progress
from headrank.model import (
    Backbone,
    BatchSettings,
    ListReader,
    PromptBuilder,
    all_heads,
    count_layers,
    describe_model,
    load_backbone,
)
from headrank.model.fusion import AUTO
from headrank.stages.keys import heads_key, project_version, table_key
from headrank.stages.lists import DataLoader, LabelledData

logger = logging.getLogger(__name__)

HEAD_CURVES = "head_curves.json"
TOO_FEW = f"fewer than {MIN_LISTS} labelled lists with two grades, on which a weight could be fitted"


def heads_name(system: str) -> str:
    """Return the path of a system's heads file, relative to the run folder."""
    return "heads.json" if system == MAIN_SYSTEM else f"heads/{system}.json"


class SelectStage:
    """Runs the select stage of an experiment.

    Args:
        experiment: the experiment.
        folder: the run folder.
        data: loads the labelled lists.
    """

    def __init__(self, experiment: Experiment, folder: RunFolder, data: DataLoader) -> None:
        self.experiment = experiment
        self.folder = folder
        self.data = data
        self._backbone: Backbone | None = None
        self._tables: dict[Path, HeadTable] = {}

    def run(self) -> dict[str, HeadsFile]:
        """Select the heads of every system, or read them from the run folder if their key is unchanged.

        Returns:
            Name of the system -> heads file, for example `headrank` -> `HeadsFile(...)`.

        Raises:
            ConfigError: a criterion cannot select heads with the labelled lists.
        """
        e = self.experiment
        train = self.data.labelled(e.train) if e.train else None
        if train is not None:
            for system in e.systems.values():
                check_labels(system.criterion, train.lists)
        result = {}
        for name, system in e.systems.items():
            file, key = heads_name(name), heads_key(e, system, train)
            written = self.folder.make(file, key, lambda path, s=system, n=name: self._select(n, s, train).save(path))
            logger.info("select: %s %s", file, "written" if written else "reused")
            result[name] = HeadsFile.load(self.folder.path / file)
            if name == MAIN_SYSTEM and train is not None:
                self._curves(system, result[name], train, key)
        self._backbone = None  # reranking loads a shallower one
        return result

    def _select(self, name: str, system: SystemSettings, train: LabelledData | None) -> HeadsFile:
        e = self.experiment
        layers, width = count_layers(e.model)
        depth = min(layers, e.reading.max_layer or layers)
        criterion, scorer = system.criterion, system.scorer
        # Reading takes minutes; a figure alone does not justify it.
        labelled = train is not None and system.uses_labels
        if labelled:
            assert train is not None
            table = self._table(system, train, depth)
        else:
            table = HeadTable(all_heads(depth, width), ())
        parameters = {k: v for k, v in vars(criterion).items() if k != "count"}
        if system.entropy_weight == "auto":
            if not isinstance(criterion, EntropyRegularized):
                raise ValueError(f"system {name}: expected the criterion entropy_regularized with entropy_weight: auto")
            weight, means = choose_entropy_weight(table, criterion, system.scorer, count=system.heads)
            logger.info("select: %s: entropy weight %s by cross-validation of %s", name, weight, means)
            criterion = replace(criterion, weight=weight)
            parameters |= {"weight": weight, "cross_validated": {str(k): v for k, v in means.items()}}
        chosen = select_heads(table, criterion, system.scorer, count=system.heads)
        logger.info("select: %s: %d heads within %d of %d layers", name, len(chosen.heads), chosen.depth, layers)
        thresholds = train.thresholds if train is not None else {}
        # Generated queries and a teacher's grades say nothing of relevance or of the first stage's worth.
        unjudged = train.unjudged if train is not None else set()
        scores = cross_fitted_scores(table, criterion, scorer, count=system.heads, left_out=unjudged)
        lists = [(one.z, one.relevant) for one in scores]
        probability = ProbabilityCalibration.fit(lists, thresholds, protocol=CROSS_FITTED)
        logger.info("select: %s: probability fitted on %s", name, probability.origin if probability else "no lists")
        fusion = None
        if scorer.fusion == AUTO:
            fusion = fit_fusion(scores, CROSS_FITTED)
            if fusion is not None:
                fusion = fusion.with_probability(scores, thresholds, CROSS_FITTED)
            scorer = replace(scorer, fusion=0.0 if fusion is None else fusion.weight)
            logger.info("select: %s: fusion %s", name, fusion.summary if fusion else f"0: {TOO_FEW}")
        return heads_file(
            chosen,
            model=describe_model(e.model, chosen.depth),
            criterion={"name": criterion.name, "parameters": parameters},
            prompt=system.prompt,
            scorer=scorer,
            query_ids=[item.query_id for item in table.lists],
            seeds=e.reading.seeds if labelled else (),
            project_version=project_version(),
            probability=probability,
            fusion=fusion,
        )

    def _curves(self, system: SystemSettings, heads: HeadsFile, train: LabelledData, key: str) -> None:
        """Write quality against the number of heads and layers, for the report, if the head table exists."""
        criterion, key = system.criterion, artifact_key("head curves", key)
        table_path = self._table_path(system, train)[0]
        if not self.folder.is_fresh(HEAD_CURVES, key) and not (criterion.needs_labels and is_whole(table_path)):
            (self.folder.path / HEAD_CURVES).unlink(missing_ok=True)  # curves of other heads
            return
        if isinstance(criterion, EntropyRegularized):
            criterion = replace(criterion, weight=heads.criterion["parameters"]["weight"])

        def write(path: Path) -> None:
            table = self._tables.get(table_path) or HeadTable.load(table_path)
            curves = head_curves(table, criterion, system.scorer, count=len(heads.heads), depth=heads.depth)
            with atomic_write(path) as file:
                json.dump(curves, file, indent=1)

        written = self.folder.make(HEAD_CURVES, key, write)
        logger.info("select: %s %s", HEAD_CURVES, "written" if written else "reused")

    def _table_path(self, system: SystemSettings, train: LabelledData) -> tuple[Path, bool]:
        """The path of the system's head table, and whether the table holds token-filtered scores.

        Systems that read the same prompts share a table; it holds filtered scores if one of them needs them.
        """
        e = self.experiment
        alike = [
            other
            for other in e.systems.values()
            if (other.prompt, other.scorer.query_rows) == (system.prompt, system.scorer.query_rows)
        ]
        filtered = any(other.criterion.needs_filtered for other in alike)
        return e.cache / "head_tables" / f"{table_key(e, system, train, filtered=filtered)}.safetensors", filtered

    def _table(self, system: SystemSettings, train: LabelledData, depth: int) -> HeadTable:
        path, filtered = self._table_path(system, train)
        if path not in self._tables:
            # other jobs of a sweep that need the same table wait here
            with cache_lock(self.experiment.cache, f"head_table_{path.stem}"):
                remove_leftovers(path.parent, name=path.name)
                if not is_whole(path):
                    if path.is_file():
                        logger.warning("%s was edited or is damaged; it is rebuilt", path)
                    _write_table(path, self._read(system, train, depth, filtered=filtered))
            self._tables[path] = HeadTable.load(path)
        return self._tables[path]

    def _read(self, system: SystemSettings, train: LabelledData, depth: int, *, filtered: bool) -> HeadTable:
        e = self.experiment
        if self._backbone is None:
            self._backbone = load_backbone(e.model, depth=depth)
        builder = PromptBuilder(self._backbone.tokenizer, system.prompt)
        batches = BatchSettings(e.reading.batch_size, e.reading.tokens_per_batch)
        reader = ListReader(self._backbone, builder, system.scorer.query_rows, batches)
        seeds = distinct_seeds(system.prompt, e.reading.seeds)
        usable = len(usable_lists(train.lists))
        with Progress(usable * len(seeds), f"select: reading {train.name}", "list") as progress:
            return read_head_table(
                reader,
                train.lists,
                all_heads(depth, self._backbone.heads_per_layer),
                seeds=seeds,
                filtered=filtered,
                on_list=progress.update,
            )


def _write_table(path: Path, table: HeadTable) -> None:
    with checked_write(path) as file:
        table.save(Path(file.name))
