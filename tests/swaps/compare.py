#!/usr/bin/env python3
"""Runs the same requests through Arriero under several rules, in turn, and prints what each rule did.

Before the runs each model is measured on an idle engine; from that comes the rate of requests. Started by run.sh.
"""

import argparse
import os
import shlex
import signal
import subprocess
import sys

import numpy as np

import report
from engines import Fleet, processors, rate
from herd import DIRECT, SERVER, Herd
from load import run, workload


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arriero", required=True, help=f"path of the binary, or {DIRECT!r}: to the engines in turn")
    parser.add_argument("--chroot", required=True, help="folder that holds llama-server and its models")
    parser.add_argument("--logs", required=True, help="folder for the logs of all processes")
    parser.add_argument("--requests", type=int, default=300, help="per run (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each rule (default: %(default)s)")
    parser.add_argument("--first-seed", type=int, default=1, help="the seeds count up from it (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each model before (default: %(default)s)")
    parser.add_argument("--rho", type=float, default=0.3, help="part of what the engines can do (default: %(default)s)")
    parser.add_argument("--engines", type=int, default=3, help="of two models each (default: %(default)s)")
    parser.add_argument("--rules", default="least-connection,model-affinity,auto", help="default: %(default)s")
    parser.add_argument("--results", help="file for a Markdown page of the results")
    parser.add_argument("--scenario", help="file for the same fleet as the simulator's scenario")
    parser.add_argument("--simulator", help="arriero-strategies: plays --scenario with the same rules, for the page of results")
    options = parser.parse_args()
    if options.simulator and not options.scenario:
        parser.error("--simulator plays the --scenario")
    return options


def version(command):
    """What a program says of itself, in one line."""
    said = subprocess.run(command, capture_output=True, text=True)
    text = [row for row in (said.stdout + said.stderr).splitlines() if row.strip()]
    return next((row for row in text if "version" in row), text[0] if text else "?")


def load_line(cans):
    """Load times as a line over sizes: GB a second, seconds that do not depend on size."""
    slope, fixed = np.polyfit([can.gigabytes for can in cans], [can.load for can in cans], 1)
    if fixed < 0:
        slope, fixed = sum(can.load for can in cans) / sum(can.gigabytes for can in cans), 0.0
    return 1 / max(slope, 1e-3), fixed


def one_run(fleet, options, arm, seed, per_second):
    """Figures of one rule on one seed."""
    fleet.empty()
    process = None if options.arriero == DIRECT else fleet.arriero(arm)
    before = fleet.loads()
    ports = [process.port] if process else [engine.port for engine in fleet.engines]
    answers = run(ports, workload(seed, options.requests, per_second))
    loads = [after - begun for after, begun in zip(fleet.loads(), before)]
    if process:
        process.stop()
        fleet.herd.started.remove(process)
    got = report.figures(answers, sum(loads))
    errors = sorted({answer.error for answer in answers if answer.error})[:3]
    print(f"  seed {seed} {arm:<18} mean {got.mean:.2f} s, P95 {got.p95:.2f}, TTFT P95 {got.ttft95:.2f}, loads {loads}, "
          f"by endpoint {got.shares}, lag {got.lag * 1000:.0f} ms, failed {got.failed} {errors or ''}", flush=True)
    return got


def simulated(options, arms):
    """What the simulator prints of the same fleet and rules."""
    rules = ",".join(arm for arm in arms if arm != report.BASE)
    said = subprocess.run([options.simulator, "--scenario", options.scenario, "--strategy", rules, "--seeds", "10"],
                          capture_output=True, text=True, check=True)
    return "\n".join(row.rstrip() for row in said.stdout.splitlines() if row.strip())


def write(options, fleet, abilities, runs, arms, per_second, before, played):
    llama = version(["chroot", str(fleet.herd.chroot), SERVER, "--version"])
    given = sys.argv[1:]
    for own in ("--arriero", "--chroot", "--logs", "--simulator"):  # run.sh's, and places of this machine
        if own in given:
            del given[given.index(own):given.index(own) + 2]
    facts = {
        "command": " ".join(["tests/swaps/run.sh", *map(shlex.quote, given)]), "engines": len(fleet.engines), "llama": llama,
        "requests": options.requests, "rate": per_second, "rho": options.rho, "seeds": sorted({seed for _, seed in runs}),
        "arriero": version([options.arriero, "--version"]), "before": before, "lag": max(run.lag for run in runs.values()),
    }
    with open(options.results, "w") as page:
        page.write(report.markdown(facts, abilities, runs, arms, played))


def main():
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    arms = ["in-turn"] if options.arriero == DIRECT else options.rules.split(",")
    before = os.getloadavg()[0]
    if before > 0.5:
        print(f"load average {before:.1f}: the machine is not quiet, the figures are worth nothing", flush=True)
    runs = {}
    with Herd(options.arriero, options.chroot, ".", options.logs) as herd:
        fleet = Fleet(herd, options.engines)
        abilities = fleet.calibrate(options.rounds)
        print(report.table(report.abilities_rows(abilities)), flush=True)
        per_second = rate(abilities, options.engines, options.rho)
        print(f"{per_second:.2f} requests a second, {options.requests / per_second:.0f} s a run", flush=True)
        if options.scenario:
            gb_per_s, fixed = load_line(abilities.values())
            rho = options.rho * min(options.engines, processors()) / options.engines
            text = report.scenario(abilities, options.engines, options.requests, rho, gb_per_s, fixed)
            with open(options.scenario, "w") as file:
                file.write(text)
        for number in range(options.seeds):
            # another rule begins each time, so that what changes with the hour falls on all
            for arm in arms[number % len(arms):] + arms[:number % len(arms)]:
                seed = options.first_seed + number
                runs[arm, seed] = one_run(fleet, options, arm, seed, per_second)
        print(report.table(report.rows(runs, arms)), flush=True)
        played = simulated(options, arms) if options.simulator else ""
        print(played, flush=True)
        if options.results:
            write(options, fleet, abilities, runs, arms, per_second, before, played)


if __name__ == "__main__":
    main()
