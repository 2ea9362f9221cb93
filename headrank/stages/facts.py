"""The facts table of a run's report (model, heads, data, time), and the same facts as numbers."""

import platform
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from headrank.evaluation import BenchmarkResult
from headrank.experiment import MAIN_SYSTEM, Experiment
from headrank.heads import HeadsFile
from headrank.model import ScorerSettings, count_parameters, cuts_text
from headrank.stages.folds import best_epochs, fold_curve
from headrank.stages.keys import project_version


def report_facts(
    experiment: Experiment,
    heads: HeadsFile,
    passes: Mapping[tuple[str, str], Mapping[str, Any]],
    *,
    results: Sequence[BenchmarkResult],
    numbers: Mapping[str, float | int],
    seconds: Mapping[str, float | int],
    threads: int,
    notice: str = "",
) -> dict[str, str]:
    """Return the facts table of the report.

    The time per query is the wall time of the whole rerank call: tokenisation, forward passes, scoring.

    Args:
        experiment: the experiment.
        heads: the heads of the main system.
        passes: (system, benchmark) -> the facts of reranking, see `RerankedBenchmark.facts`.
        results: the measures of each benchmark.
        numbers: the result of `run_numbers`.
        seconds: stage -> its wall time so far, in seconds.
        threads: the number of CPU threads.
        notice: a text at the top of the report; if empty, only other notices are shown.

    Returns:
        Label -> value, as text.
    """
    e = experiment
    system = e.systems[MAIN_SYSTEM]
    facts = {
        "model": e.model.model + (f" at {e.model.hub_revision}" if e.model.hub_revision else ""),
        "size": f"{_millions(numbers['model/parameters'])}, {_millions(numbers['model/parameters_in_use'])} in use",
        "weights": "random: no quality can be read from this run" if e.model.random_weights else e.model.dtype,
        "heads": ", ".join(f"{h.layer}-{h.head}" for h in heads.heads[:16]) + (" …" if len(heads.heads) > 16 else ""),
        "depth": f"{heads.depth} of {heads.model['layers']} layers",
        "head criterion": heads.criterion["name"],
        "calibration": _calibration(system.scorer),
        "fusion": _fusion(heads),
        "context order": _name(system.scorer.order)
        + (f", mean of {system.scorer.shuffles}" if system.scorer.shuffles > 1 else ""),
        "selected on": f"{' + '.join(d.name for d in e.train)}, {len(heads.query_ids)} queries"
        if e.train
        else "no labelled lists",
        **({"soft labels": labels} if (labels := _soft_labels(e)) else {}),
        "alignment": _alignment(e),
        **_epochs(e),
        "candidates": ", ".join(f"{b.name}: {b.first_stage}, top {b.depth}" for b in e.benchmarks),
    }
    missing = [
        f"{r.name}: {r.queries_without_candidates} of {len(r.query_ids)} queries, which count as 0"
        for r in results
        if r.queries_without_candidates
    ]
    if missing:
        facts["candidates missing"] = "; ".join(missing)
    for (name, benchmark), values in passes.items():
        facts[f"time, {name} on {benchmark}"] = _cost(values)
        facts[f"cut, {name} on {benchmark}"] = cuts_text(values) if "cut_passages" in values else "not counted"
        if values.get("windowed_lists"):
            facts[f"windows, {name} on {benchmark}"] = f"{values['windowed_lists']} lists were read in several prompts"
        if "replies" in values:
            facts[f"formatting, {name} on {benchmark}"] = _formatting(values["replies"])
    if e.rerankers:
        facts["zone of pointwise systems"] = f"{MAIN_SYSTEM}'s: a system that reads each passage alone has none"
    if seconds:
        facts["time, stages"] = ", ".join(f"{stage} {value:.0f} s" for stage, value in seconds.items())
    facts["software"] = f"headrank {project_version()}, torch {torch.__version__}, Python {platform.python_version()}"
    facts["machine"] = f"{platform.machine()}, {threads} threads" + (", CUDA" if torch.cuda.is_available() else "")
    notices = [notice] if notice else []
    notices += [b.notice for b in e.benchmarks if b.notice]
    if e.model.random_weights:
        notices.insert(0, "The model's weights are random: no number here says anything about quality.")
    if notices:
        facts["notice"] = " ".join(dict.fromkeys(notices))
    return facts


def _soft_labels(experiment: Experiment) -> str:
    teacher = "".join(f" ({name})" for name in experiment.teacher)
    return ", ".join(
        f"{one.name}: {one.labels}{teacher if one.label_source.teacher else ''}"
        for one in experiment.train
        if one.labels is not None
    )


def _cost(values: Mapping[str, Any]) -> str:
    """The cost of a query, as far as the system reports it."""
    lists = max(1, values["lists"])
    parts = [f"{values['seconds'] / lists:.2f} s a query"]
    if "tokens" in values:
        parts.append(f"{values['tokens'] / lists:.0f} tokens")
    if "flops" in values:
        parts.append(f"{values['flops'] / lists / 1e12:.3g} TFLOP ({_rate(values) / 1e9:,.0f} GFLOP/s achieved)")
    if "generated_tokens" in values:
        parts.append(f"{values['generated_tokens'] / lists:.0f} generated")
    if values.get("shortened_windows"):
        parts.append(f"{values['shortened_windows']} windows with passages cut further to go into the context")
    if "depth" in values:
        parts.append(f"{values['depth']} layers")
    return ", ".join(parts)


def _rate(values: Mapping[str, Any]) -> float:
    """Floating-point operations per second over the whole call. A run does not measure the machine's peak rate; `make
    bench` does."""
    return values["flops"] / max(values["seconds"], 1e-9)  # zero lists take zero seconds


def _formatting(counts: Mapping[str, int]) -> str:
    """The share of windows whose reply is a complete permutation, and the kinds of the other replies."""
    windows = counts["windows"]
    if not windows:
        return "no window was read"
    others = [(kind.replace("_", " "), n) for kind, n in counts.items() if kind not in ("windows", "well_formed")]
    kinds = [f"{n} {kind}" for kind, n in others if n]
    success = f"{100 * counts['well_formed'] / windows:.1f} % of {windows} windows well formed"
    return f"{success} ({', '.join(kinds)})" if kinds else success


def run_numbers(
    experiment: Experiment, heads: HeadsFile, passes: Mapping[tuple[str, str], Mapping[str, Any]]
) -> dict[str, float | int]:
    """Return the facts of a run as numbers: model size, the part of the model in use, and the cost of a query.

    Args:
        experiment: the experiment.
        heads: the heads of the main system.
        passes: (system, benchmark) -> the facts of reranking, see `RerankedBenchmark.facts`.

    Returns:
        Name -> number, for example `model/parameters` -> 134515008. `model/parameters` counts all weights, embeddings
        included; `model/parameters_in_use` those of the layers that the heads need. `cost/<benchmark>/<system>/...` are
        wall seconds, prompt tokens and floating-point operations per query (`headrank.model.cost`), operations per
        second, peak memory in GiB, and the number of truncated passages and queries. Costs that a system does not
        report are left out.
    """
    numbers: dict[str, float | int] = {
        "model/parameters": count_parameters(experiment.model),
        "model/parameters_in_use": count_parameters(experiment.model, heads.depth),
        "model/layers": int(heads.model["layers"]),
        "model/layers_in_use": heads.depth,
        "model/heads_in_use": len(heads.heads),
    }
    for (system, benchmark), facts in passes.items():
        lists, start = max(1, facts["lists"]), f"cost/{benchmark}/{system}"
        numbers[f"{start}/seconds_per_query"] = facts["seconds"] / lists
        if "tokens" in facts:
            numbers[f"{start}/tokens_per_query"] = facts["tokens"] / lists
        if "flops" in facts:
            numbers[f"{start}/flops_per_query"] = facts["flops"] / lists
            numbers[f"{start}/flops_per_second"] = _rate(facts)
        for cut in ("cut_passages", "cut_queries"):
            if cut in facts:
                numbers[f"{start}/{cut}"] = facts[cut]
        if "peak_memory_bytes" in facts:
            numbers[f"{start}/peak_memory_gib"] = facts["peak_memory_bytes"] / 2**30
    return numbers


def _millions(parameters: float | int) -> str:
    return f"{parameters / 1e6:,.3g} M parameters" if parameters < 1e9 else f"{parameters / 1e9:.3g} B parameters"


def _name(value: Any) -> str:
    return value if isinstance(value, str) else value.name


def _calibration(scorer: ScorerSettings) -> str:
    name = _name(scorer.calibration)
    return f"{name}, power {scorer.power:g}" if name == "residual" else name


def _fusion(heads: HeadsFile) -> str:
    if heads.fusion is not None:
        return heads.fusion.summary
    return f"weight {heads.scorer.fusion_weight:g}" if heads.scorer.fusion_weight else "none"


def _alignment(experiment: Experiment) -> str:
    a = experiment.alignment
    if a is None:
        return "none: heads are read as the model came"
    losses = " + ".join(f"{weight:g} x {name}" for name, (weight, _) in a.losses.terms.items())
    drawn = [f"{d.lists_per_epoch} lists of {d.name} per epoch" for d in experiment.train if d.lists_per_epoch]
    return ", ".join([a.trained.part, f"{a.epochs} epochs", *drawn, losses, f"seed {a.seed}"])


def _epochs(experiment: Experiment) -> dict[str, str]:
    """The mean curve of the folds that chose the number of epochs."""
    a = experiment.alignment
    if a is None or not a.folds:
        return {}
    curve = fold_curve(experiment.folder, a.folds)
    values = ", ".join(f"{value:.4f}" for value in curve)
    return {
        "epochs by folds": f"{best_epochs(curve)} of {len(curve)}, by the mean nDCG@10 over {a.folds} folds: {values}"
    }
