"""Figures of runs, ratios between rules on the same seeds, and how they are written down."""

import math
import os
import platform
import statistics
from dataclasses import dataclass

from load import DEVIATION, FLOOR, OUTPUT_TOKENS, POPULAR, PROMPT_TOKENS

BASE = "least-connection"
FIGURES = ["mean", "p95", "ttft95", "loads"]
WARM_UP = 0.1  # of the requests, left out of the times
# Student's t, two-sided 95 %, by degrees of freedom.
T95 = [math.nan, 12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26]


@dataclass
class Figures:
    """One run: seconds, loads per 1000 requests, answers by endpoint."""

    mean: float
    p95: float
    ttft95: float
    loads: float
    failed: int
    lag: float
    shares: dict


def quantile(values, part):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.ceil(part * len(ordered)) - 1)]


def figures(answers, loads):
    kept = [answer for answer in answers[int(WARM_UP * len(answers)):] if not answer.error]
    shares = {}
    for answer in answers:
        shares[answer.endpoint or "?"] = shares.get(answer.endpoint or "?", 0) + 1
    assert kept, f"nothing was answered: {answers[0].error}"
    totals, firsts = [answer.total for answer in kept], [answer.ttft for answer in kept]
    return Figures(statistics.fmean(totals), quantile(totals, 0.95), quantile(firsts, 0.95), 1000 * loads / len(answers),
                   sum(bool(answer.error) for answer in answers), quantile([answer.lag for answer in answers], 0.99), shares)


def ratio(runs, arm, figure):
    """Geometric mean of the ratios to the base on the same seeds, with its 95 % interval, as text."""
    pairs = [(getattr(runs[arm, seed], figure), getattr(runs[BASE, seed], figure)) for at, seed in runs if at == arm]
    if any(value <= 0 for pair in pairs for value in pair):
        return "-"
    logs = [math.log(own / base) for own, base in pairs]
    middle = statistics.fmean(logs)
    if len(logs) < 2:
        return f"{math.exp(middle):.2f}"
    half = T95[min(len(logs) - 1, len(T95) - 1)] * statistics.stdev(logs) / math.sqrt(len(logs))
    return f"{math.exp(middle):.2f} [{math.exp(middle - half):.2f}, {math.exp(middle + half):.2f}]"


def rows(runs, arms):
    """The table of results: a line per rule."""
    yield ["rule", "mean s", "P95 s", "TTFT P95 s", "loads per 1000", "failed", "by endpoint"]
    for arm in arms:
        own = [run for (at, _), run in runs.items() if at == arm]
        cells = [f"{statistics.fmean(getattr(run, figure) for run in own):.{0 if figure == 'loads' else 2}f}" for figure in FIGURES]
        if arm != BASE and any(at == BASE for at, _ in runs):
            cells = [f"{cell} = {ratio(runs, arm, figure)}" for cell, figure in zip(cells, FIGURES)]
        names = sorted({name for run in own for name in run.shares})
        shares = ":".join(str(sum(run.shares.get(name, 0) for run in own)) for name in names)
        yield [arm, *cells, str(sum(run.failed for run in own)), shares]


def abilities_rows(abilities):
    yield ["model", "share rank", "GB", "load s", "decode tok/s", "prefill tok/s"]
    for model, can in abilities.items():
        rank = POPULAR.index(model) + 1
        yield [model, str(rank), f"{can.gigabytes:.3f}", f"{can.load:.2f}", f"{can.decode:.0f}", f"{can.prefill:.0f}"]


def table(lines, sign=""):
    """Lines of cells as text; with a sign as a Markdown table."""
    lines = list(lines)
    if sign:
        marked = ["| " + " | ".join(line) + " |" for line in lines]
        return "\n".join([marked[0], "|" + "---|" * len(lines[0]), *marked[1:]])
    widths = [max(len(line[at]) for line in lines) for at in range(len(lines[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines)


def machine():
    model = next((row.split(":")[1].strip() for row in open("/proc/cpuinfo") if row.startswith("model name")), "?")
    return f"{os.cpu_count()} x {model}, Linux {platform.release()}"


def markdown(facts, abilities, runs, arms, played):
    """The committed page."""
    lines = [
        "# Model swaps on real engines", "",
        f"One command: `{facts['command']}`. {facts['engines']} llama.cpp servers in router mode ({facts['llama']}), one thread per",
        f"model, hold 2 of 6 random-weight models each. {facts['requests']} requests per run, open loop at {facts['rate']:.2f} a second",
        f"(load {facts['rho']}, loads of models not counted), models by Zipf 1, {PROMPT_TOKENS} prompt and about {OUTPUT_TOKENS} output tokens",
        f"(factor 1 + {DEVIATION} N(0,1), at least {FLOOR}). Every run begins with a new Arriero and no model in memory; rules take turns",
        f"on the same seeds: {', '.join(map(str, facts['seeds']))}. The first {WARM_UP:.0%} are left out of the times. {facts['arriero']}.",
        f"Machine: {machine()}; load average before the first run {facts['before']:.2f}; the client was late by {facts['lag'] * 1000:.0f} ms at most (P99).",
        "", table(rows(runs, arms), "|"), "",
        f"Behind `=`: the ratio to {BASE} (`caps: false`), geometric mean over the seeds with its 95 % interval. Smaller is better.",
        "", "What a model does on an idle engine:", "", table(abilities_rows(abilities), "|"), "",
    ]
    if played:
        lines += ["The same fleet in the simulator (`tests/swaps/swaps.yaml`, 10 seeds; ratios to the same base):", "", "```text", played, "```", ""]
    return "\n".join(lines)


def scenario(abilities, engines, requests, rho, gb_per_s, fixed):
    """The same fleet for the simulator."""
    entries = [
        f"  - {{ name: {model}, file_gb: {can.gigabytes:.4f}, vram_gb: {can.gigabytes:.4f}, "
        f"decode_tps: {can.decode:.1f}, prefill_tps: {can.prefill:.1f} }}" for model, can in abilities.items()
    ]
    order = [list(abilities).index(model) for model in POPULAR]
    return "\n".join([
        "# The fleet of tests/swaps as the simulator sees it: speeds and loads as measured by tests/swaps/run.sh.",
        "# Differs from the real one: an idle model leaves by its place in the catalogue, not by its last use; each engine has",
        "# a processor of its own.",
        "name: swaps", "about: Llama.cpp routers that hold two of six models, as measured", "models:   # GB, GB, tokens/s, tokens/s",
        *entries, "profiles:", "  router:", "    ollama:", "      slots: 1", "      vram_gb: 64", "      max_resident: 2",
        "      max_queue: 100000", "      keep_alive_s: 100000", f"      load_gb_per_s: {gb_per_s:.3f}",
        f"      load_fixed_s: {fixed:.3f}", "      beta: 0.25", "fleet:",
        f"  - {{ name: e, count: {engines}, profile: router, slots: 1 }}", "workload:", f"  requests: {requests}",
        f"  warm_up: {int(WARM_UP * requests)}",
        f"  lengths: {{ scaled: {{ prompt: {PROMPT_TOKENS}, output: {OUTPUT_TOKENS}, deviation: {DEVIATION}, floor: {FLOOR} }} }}",
        f"  arrivals: {{ random: {{ rho: {rho:.3f} }} }}", f"  popularity: {{ zipf: 1, order: {order} }}",
        "proxy:", "  queue_requests: 1000000", "  queue_timeout_s: 1000000", "  first_byte_s: null", "  between_chunks_s: null", "",
    ])
