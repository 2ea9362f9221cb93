"""The teacher: reranks the candidates of training sets once, and its scores label them (`data.NAME.labels=teacher`).

The run is an artifact of the run folder, `runs/teacher/<data set>.trec`, and is cached like the runs of other untrained
systems (`run_cache.py`). Later stages read it as a run that `labels` names, in every training process.
"""

from dataclasses import replace

from headrank.data import DataSettings
from headrank.experiment import TEACHER_SYSTEM, Experiment, OrderTeacher
from headrank.heads import HeadsFile
from headrank.io.artifacts import RunFolder
from headrank.model import model_identity
from headrank.ranking import Order
from headrank.stages.lists import BenchmarkData, DataLoader
from headrank.stages.rerank import RerankStage


def with_teacher(
    experiment: Experiment, folder: RunFolder, data: DataLoader, heads: HeadsFile | None = None
) -> Experiment:
    """Rerank the training sets that the teacher labels, or reuse its runs.

    The candidates are reranked down to the data set's depth, or to `alignment.draw_depth` if that is larger.

    Args:
        experiment: the experiment.
        folder: the run folder.
        data: loads the candidate lists.
        heads: the selected heads, for the teacher `orders`; None: the teacher is another reranker.

    Returns:
        The experiment, with the paths of these runs as `labels`, and without a teacher.
    """
    if not experiment.teacher:
        return experiment
    ((_, teacher),) = experiment.teacher.items()
    rerank, taught = RerankStage(folder, experiment.cache), _taught(experiment, data)

    def labelled(one: DataSettings) -> DataSettings:
        if not one.label_source.teacher:
            return one
        lists = taught[one.name]
        if isinstance(teacher, OrderTeacher):
            assert heads is not None
            scorer = replace(
                heads.scorer, order=str(Order.SHUFFLED), shuffles=teacher.shuffles, seed=teacher.seed, fusion=0.0
            )
            identity = model_identity(experiment.model)
            rerank.run(TEACHER_SYSTEM, experiment.model, identity, heads.with_settings(scorer=scorer), lists)
        else:
            rerank.run_reranker(TEACHER_SYSTEM, teacher, experiment.model, lists)
        return one.with_labels(folder.path.absolute() / "runs" / TEACHER_SYSTEM / f"{one.name}.trec")

    return replace(experiment, train=tuple(map(labelled, experiment.train)), teacher={})


def check_teacher(experiment: Experiment, data: DataLoader) -> None:
    """Check that a teacher that does not read heads can read the candidates, before any model is loaded.

    Raises `ValueError` for a list that it cannot read, and the errors of loading data.
    """
    for teacher in experiment.teacher.values():
        refuse = getattr(teacher, "check", None)
        for lists in _taught(experiment, data).values():
            if refuse is not None:
                refuse(experiment.model, lists.candidates.lists)


def _taught(experiment: Experiment, data: DataLoader) -> dict[str, BenchmarkData]:
    """The training sets that the teacher labels, by name, with the candidates that it reranks."""
    depth = experiment.alignment.draw_depth if experiment.alignment else 0
    return {one.name: data.load(one.with_min_depth(depth)) for one in experiment.train if one.label_source.teacher}
