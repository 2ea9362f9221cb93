"""Print the prompts of an experiment: the exact input of each system's model for one candidate list.

    python -m headrank.prompts +experiment=qwen3_4b 'baselines=[icr,generative,qwen3_reranker]'
    python -m headrank.prompts +experiment=nano --system headrank --passages 3 --query s25
    python -m headrank.prompts --benchmark sample-test

The list comes from the sample collection, which needs neither network nor index, or with --benchmark from a benchmark
of the experiment. The command reads tokenizers and configurations, but no weights. Markers show inserted text, in which
special tokens are plain text: ⟦passage 1⟧ ... ⟦/passage 1⟧ and so on in prompts of heads, ⟦ ... ⟧ in chats.
"""

import argparse
import logging
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from headrank.logs import set_up_logging
from headrank.run import compose_config, experiment_from_config

if TYPE_CHECKING:
    from headrank.experiment import Experiment, SystemSettings
    from headrank.model import BackboneSettings
    from headrank.ranking import CandidateList

SAMPLE = "sample/test"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the prompts and return 0. Exit with code 2 for a wrong configuration, system, benchmark or query.

    arguments: the command line without the program's name; None: that of this process.
    """
    parser = argparse.ArgumentParser(
        prog="headrank prompts", description="Show the prompt of every system of an experiment."
    )
    parser.add_argument("overrides", nargs="*", help="overrides of the configuration, as for headrank.run")
    parser.add_argument("--system", action="append", help="show only this system (may be given several times)")
    parser.add_argument("--query", help="the query's id; otherwise the first")
    parser.add_argument("--passages", type=int, help="the number of candidates to show; otherwise the whole list")
    parser.add_argument("--benchmark", help="take the list from this benchmark of the experiment, by its name")
    parser.add_argument("--config-dir", help="a folder with further options, as for headrank.run")
    given = parser.parse_intermixed_args(arguments)
    set_up_logging(logging.WARNING)
    try:
        experiment = experiment_from_config(
            compose_config(given.overrides, config_dir=given.config_dir), Path("unused")
        )
        item = example_list(experiment, benchmark=given.benchmark, query=given.query, passages=given.passages)
        for text in prompts(experiment, item, only=given.system):
            print(text)
    except ValueError as error:
        parser.error(str(error))
    return 0


def example_list(
    experiment: "Experiment", *, benchmark: str | None = None, query: str | None = None, passages: int | None = None
) -> "CandidateList":
    """Return a candidate list of the sample collection, or of a benchmark of the experiment.

    benchmark: the benchmark's name; None: the sample collection.
    query: the query's id; None: the first list.
    passages: the number of first candidates to keep; None: all.

    Raises `ValueError` if there is no such benchmark or query, and what loading the benchmark raises.
    """
    from headrank.experiment import DataSettings
    from headrank.stages.lists import DataLoader

    chosen: DataSettings | None = DataSettings("sample", SAMPLE, depth=experiment.benchmarks[0].depth)
    if benchmark is not None:
        chosen = next((one for one in experiment.benchmarks if one.name == benchmark), None)
        if chosen is None:
            names = ", ".join(one.name for one in experiment.benchmarks)
            raise ValueError(f"unknown benchmark {benchmark!r}, expected one of {names}")
    lists = DataLoader(experiment.cache).load(chosen).candidates.lists
    found = next((item for item in lists if query in (None, item.query.id)), None)
    if found is None:
        raise ValueError(
            f"unknown query {query!r}, expected a query with a list: {', '.join(i.query.id for i in lists[:5])}, ..."
        )
    return found if passages is None else found.top(passages)


def prompts(experiment: "Experiment", item: "CandidateList", *, only: Sequence[str] | None = None) -> Iterator[str]:
    """Yield the prompt of each system for the list, under a heading with the system's name.

    only: names of systems and baselines; None: all.

    Raises `ValueError` if `only` names a system that the experiment does not have.
    """
    names = [*experiment.systems, *experiment.rerankers]
    unknown = sorted(set(only or ()) - set(names))
    if unknown:
        raise ValueError(f"unknown system {unknown[0]!r}, expected one of {', '.join(names)}")
    for name in names:
        if only and name not in only:
            continue
        if name in experiment.systems:
            text = heads_prompt(experiment.model, experiment.systems[name], item)
        else:
            text = experiment.rerankers[name].show_prompt(experiment.model, item)
        yield f"━━ {name} ━━\n{text}\n"


def heads_prompt(model: "BackboneSettings", system: "SystemSettings", item: "CandidateList") -> str:
    """Return the prompt of a system that reads heads, as text with marked spans.

    Args:
        model: the model, whose tokenizer is used.
        system: the system's prompt and scorer settings.
        item: the candidate list; its passages are in the first context order of the scorer.
    """
    from headrank.model import PromptBuilder, load_tokenizer
    from headrank.ranking import context_orders

    builder = PromptBuilder(load_tokenizer(model), system.prompt)
    scorer = system.scorer
    positions = context_orders(scorer.order, item, scorer.seed)[0]
    passages = [item.passages[i].text for i in positions]
    return builder.show(builder.build(item.query.text, passages, with_null=scorer.needs_null))


if __name__ == "__main__":
    sys.exit(main())
