"""Check that prompts fit into the model's context, before a model is loaded.

Selection and alignment read a labelled list in one prompt. Reranking divides long candidate lists among several
prompts, so only single passages must fit. A list is tokenised only if its number of characters could exceed the
context; with the usual passage limits there are no such lists.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace

from headrank.baselines.language_model import context_tokens
from headrank.data.labelled import usable_lists
from headrank.errors import ConfigError
from headrank.experiment import Experiment, SystemSettings
from headrank.model import PromptBuilder, PromptSettings, load_tokenizer
from headrank.model.prompt_lengths import PromptLengths
from headrank.ranking import CandidateList
from headrank.stages.lists import BenchmarkData, LabelledData

logger = logging.getLogger(__name__)


def check_prompt_lengths(
    experiment: Experiment,
    benchmarks: Sequence[BenchmarkData],
    selection: LabelledData | None = None,
    training: LabelledData | None = None,
) -> None:
    """Check that the labelled lists and the benchmarks' passages fit into the model's context.

    For a reranker that does not read heads, its own method `check(model, lists)` is called, if it has one.

    Args:
        experiment: the experiment.
        benchmarks: the benchmarks to rerank.
        selection: the labelled lists that select heads; None: not checked.
        training: the labelled lists from which alignment draws candidates; None: not checked.

    Raises:
        ConfigError: a prompt is too long; the message names the longest one and the settings to lower.
        ValueError: a reranker cannot read a list.
    """
    e = experiment
    limit = context_tokens(e.model)
    builders: dict[tuple[PromptSettings, bool], PromptLengths] = {}

    def check(lists: Sequence[CandidateList], data: str, name: str, system: SystemSettings, draw: int = 0) -> None:
        instruction = system.instructions.get(data, system.prompt.instruction)
        prompt, with_null = replace(system.prompt, instruction=instruction), system.scorer.needs_null
        uncut = [field for field in ("max_passage_tokens", "max_query_tokens") if getattr(prompt, field) is None]
        prompt = replace(
            prompt, **dict.fromkeys(uncut, limit)
        )  # an uncut text longer than the context is too long in any case
        if (prompt, with_null) not in builders:
            builders[prompt, with_null] = PromptLengths(PromptBuilder(tokenizer, prompt), with_null=with_null)
        too_long = list(builders[prompt, with_null].too_long(lists, limit or 0, draw))
        if too_long:
            item, tokens = max(too_long, key=lambda one: one[1])
            raise ConfigError(
                f"{data}, query {item.query.id!r}: the prompt of {name} takes at least {tokens} tokens for "
                f"{draw or len(item)} passages, {e.model.model} has a context of {limit} ({len(too_long)} of "
                f"{len(lists)} lists are too long). Lower the depth of {data}, prompt.max_passage_tokens (now "
                f"{system.prompt.max_passage_tokens}) or prompt.max_query_tokens (now {system.prompt.max_query_tokens})"
            )

    if limit is not None:
        tokenizer = load_tokenizer(e.model)
        for name, system in e.systems.items():
            for benchmark in benchmarks:  # a prompt holds one passage at least
                check(benchmark.candidates.lists, benchmark.settings.name, name, system, draw=1)
            if selection is not None and system.criterion.needs_labels:
                null = replace(
                    system, scorer=replace(system.scorer, calibration="residual")
                )  # selection always reads the null query
                check([one.item for one in usable_lists(selection.lists)], selection.name, f"{name}'s heads", null)
        if training is not None:
            name, system = next(iter(e.systems.items()))
            pools = [one.item for one in usable_lists(training.lists)]
            deepest = max(source.depth for source in e.train)  # a list has at most this number of candidates
            check(pools, training.name, "alignment", system, draw=min(e.alignment.draw_candidates, deepest))
    for settings in e.rerankers.values():
        refuse = getattr(settings, "check", None)
        if refuse is not None:
            for benchmark in benchmarks:
                refuse(e.model, benchmark.candidates.lists)
