#!/usr/bin/env python3
"""Runs the real-engine checks and prints them as a table: what, PASS or FAIL, how long, what was seen.

The checks are in checks/, in an order that checks/__init__.py gives; the processes in herd.py. Exit code 1 if a check failed.
"""

import argparse
import signal
import sys
import time

import checks
from herd import DIRECT, Herd, NotStarted


def run(herd, check):
    """Verdict, detail and seconds of one check."""
    begin = time.monotonic()
    try:
        verdict, detail = "PASS", check.run(herd)
    except checks.NotHere as reason:
        verdict, detail = "SKIP", str(reason)
    except Exception as error:  # whatever a client library raises is a failed check, not the end of the run
        verdict, detail = "FAIL", f"{type(error).__name__}: {error}"
    return verdict, detail, time.monotonic() - begin


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arriero", required=True, help=f"path of the binary, or {DIRECT!r}: drive the engines directly")
    parser.add_argument("--chroot", required=True, help="folder that holds llama-server and its models")
    parser.add_argument("--js", required=True, help="folder that holds node_modules and the scripts of js/, if there is node")
    parser.add_argument("--logs", required=True, help="folder for the logs of all processes")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))

    counts = {"PASS": 0, "FAIL": 0, "SKIP": 0}
    with Herd(options.arriero, options.chroot, options.js, options.logs) as herd:
        print("starting", flush=True)
        try:
            herd.start_engines()
            if options.arriero != DIRECT:
                herd.start_arriero()
        except (NotStarted, AssertionError) as error:
            sys.exit(f"FAIL  start: {error}")
        for check in checks.ALL:
            verdict, detail, seconds = run(herd, check)
            counts[verdict] += 1
            line = " ".join(str(detail or "").split())[:300]
            print(f"{verdict}  {check.client:<16} {check.what:<53} {seconds * 1000:6.0f} ms  {line}", flush=True)
        if counts["FAIL"] and herd.arriero:
            print(f"\nend of arriero's log ({herd.arriero.log}):\n{herd.arriero.tail()}")
    skipped = f", {counts['SKIP']} skipped" if counts["SKIP"] else ""
    print(f"{counts['PASS']} passed, {counts['FAIL']} failed{skipped}")
    sys.exit(1 if counts["FAIL"] else 0)


if __name__ == "__main__":
    main()
