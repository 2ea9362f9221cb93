"""Format the results as Markdown."""

from collections.abc import Sequence
from typing import Any

from experiments.benchmarks.systems import EAGER, OURS


def markdown(results: dict[str, Any]) -> str:
    """Format the tables of all measured parts."""
    m, rate = results["machine"], results["matmul_rate"]
    rates = results["matmul_rates"]
    parts = [
        f"{m['gpu'] or m['processor']}, {m['threads']} of {m['cores']} cores; torch {m['torch']}, transformers "
        f"{m['transformers']}, Python {m['python']}. Seconds are {m['clock']}. Large matrix products in "
        f"{results['dtype']}: {_rate(rate)} (median of {len(rates)} over the run, {_rate(min(rates))} to "
        f"{_rate(max(rates))}). Random weights. {results['minutes']:.0f} minutes in all"
        f"{', the quick way' if results['quick'] else ''}."
    ]
    if "against" in results:
        lists = f", {results['lists']} list{'s' if results['lists'] > 1 else ''}"
        parts += [_title("Against what else ranks a list", results) + lists, _against(results, rate)]
    if "switches" in results:
        title = f"Each optimisation by itself, one list of {results['switches_passages']} passages"
        parts += [_title(title, results), _switches(results)]
    if "apart" in results:
        parts += [_title("Where one list's time goes", results), _apart(results["apart"])]
    if "growth" in results:
        growth = results["growth"]
        parts += [f"### Growth, {results['shape']}'s shape cut to {growth['layers']} layers", _growth(growth)]
    if "batching" in results:
        parts += ["### Batches, the embedded model", _batching(results["batching"])]
    if "real" in results:
        real = results["real"]
        parts += [f"### Real lists of {real['collection']}, SmolLM2-135M, {real['layers']} layers", _real(real)]
    return "\n\n".join(parts) + "\n"


def _title(text: str, results: dict[str, Any]) -> str:
    return f"### {text}, {results['shape']}'s shape, heads within {results['depth']} of {results['layers']} layers"


def _against(results: dict[str, Any], rate: float) -> str:
    rows = []
    base = {r["passages"]: r["seconds"] for r in results["against"] if r["system"] == OURS}
    for r in results["against"]:
        cells = [r["passages"], f"{r['tokens']:,}", r["system"]]
        if "skipped" in r:
            rows.append([*cells, r["skipped"], "", "", "", "", ""])
            continue
        seconds = r["seconds"]
        over = f"{seconds / (r['floor_flops'] / rate):.2f}" if r["system"] == OURS else ""
        rows.append([
            *cells, _seconds(seconds), f"{seconds / base[r['passages']]:.2f}", over,
            f"{r['work_tokens'] / seconds:,.0f}", f"{r['flops'] / seconds / rate:.0%}", _mib(r["peak_mib"]),
        ])  # fmt: skip
    head = ["passages", "tokens", "system", "seconds", "x ours", "x floor", "tokens/s", "utilisation", "peak MiB"]
    return _table(head, rows, left=(2,))


def _switches(results: dict[str, Any]) -> str:
    rows = [
        [r["way"], _seconds(r["seconds"]), f"{r['times']:.3f}", f"{r['work_tokens']:,}", _mib(r["peak_mib"])]
        for r in results["switches"]
    ]
    return _table(["way", "seconds", "x as it is", "tokens", "peak MiB"], rows, left=(0,))


def _apart(records: Sequence[dict[str, Any]]) -> str:
    rows = [
        [f"{r['tokens']:,}", kind, _seconds(seconds), f"{seconds / r['seconds']:.0%}"]
        for r in records
        for kind, seconds in [("all of it", r["seconds"]), *r["kinds"].items()]
    ]
    return _table(["tokens", "what", "seconds", "share"], rows, left=(1,))


def _growth(growth: dict[str, Any]) -> str:
    rows = [
        [f"{r['tokens']:,}", f"{r['flops'] / 1e9:,.0f}", _seconds(r["seconds"]), _mib(r["peak_mib"])]
        for r in growth["rows"]
    ]
    for label, key in (("exponent", "exponents"), ("last doubling, times", "last_doubling")):
        values = growth[key]
        names = ("flops", "seconds", "peak_mib")
        rows.append([label, *(f"{values[name]:.2f}" if name in values else "" for name in names)])
    return _table(["tokens", "GFLOP", "seconds", "peak MiB"], rows)


def _batching(batching: dict[str, Any]) -> str:
    base = next(r["seconds"] for r in batching["rows"] if r["way"] == "planned")
    rows = [
        [r["way"], r["passes"], f"{r['padding']:.1%}", _seconds(r["seconds"]), f"{r['seconds'] / base:.2f}"]
        for r in batching["rows"]
    ]
    intro = f"{batching['lists']} lists, {batching['tokens']:,} tokens."
    return f"{intro}\n\n" + _table(["passes", "number", "padding", "seconds", "x planned"], rows, left=(0,))


def _real(real: dict[str, Any]) -> str:
    rows = []
    for r in real["rows"]:
        ours, eager = (r["seconds_a_list"][name] for name in (OURS, EAGER))
        rows.append([
            r["candidates"], r["lists"], f"{r['tokens_a_list']:,.0f}", _seconds(ours),
            _seconds(eager) + (" (a layer's matrices at a time)" if r.get("frugal") else ""),
            f"{eager / ours:.1f}", _mib(r["peak_mib"][OURS]), _mib(r["peak_mib"][EAGER]),
            f"{r['same_order']} of {r['lists']}", f"{r['largest_difference']:.0e}",
        ])  # fmt: skip
    head = ["candidates", "lists", "tokens", "ours, s a list", "eager, s a list", "times", "ours, peak MiB",
            "eager, peak MiB", "same order", "largest difference of scores"]  # fmt: skip
    return _table(head, rows)


def _seconds(value: float) -> str:
    return f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def _rate(value: float) -> str:
    return f"{value / 1e12:.0f} TFLOP/s" if value >= 1e13 else f"{value / 1e9:.1f} GFLOP/s"


def _mib(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]], left: Sequence[int] = ()) -> str:
    ruler = ["---" if i in left else "---:" for i in range(len(head))]
    return "\n".join("| " + " | ".join(str(cell) for cell in row) + " |" for row in (head, ruler, *rows))
