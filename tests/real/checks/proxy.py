"""The proxy itself: what it refuses, a reload, an engine's death, its metrics at the end."""

import os
import signal
import subprocess
from pathlib import Path

import openai

from herd import CHAT, SWAPS, get, request

from .base import GO_ON, HELLO, LONG, SECONDS, check, expect, none_in_flight, working_engine
from .openai_python import chat, openai_client


@check("plain", "engine control is not reachable", through_arriero=True)
def control_blocked(herd):
    asked = [("GET", "/slots", None), ("POST", "/models/unload", {"model": SWAPS[0]}), ("POST", "/api/pull", {"model": "x"})]
    answers = {path: request(method, herd.arriero.url + path, body)[0] for method, path, body in asked}
    expect(all(status in (403, 404, 405) for status in answers.values()), f"answers {answers}")
    return f"{answers}"


@check("plain", "SIGHUP during a stream loses nothing", through_arriero=True)
def reload(herd):
    answer = openai_client(herd).chat.completions.create(
        model=CHAT, messages=HELLO, max_tokens=400, stream=True, extra_body=GO_ON, stream_options={"include_usage": True}
    )
    first = next(iter(answer))
    herd.arriero.notify(signal.SIGHUP)
    chat(herd)
    last = [first, *answer][-1]
    expect(last.usage and last.usage.completion_tokens == 400, f"last chunk {last}")
    expect(herd.arriero.process.poll() is None, "arriero ended")


@check("plain", "an engine that dies mid-stream ends it with an error", through_arriero=True)
def death_mid_stream(herd):
    answer = openai_client(herd).chat.completions.create(
        model=CHAT, messages=HELLO, max_tokens=LONG, stream=True, extra_body=GO_ON
    )
    next(iter(answer))
    engine = working_engine(herd)
    engine.stop(signal.SIGKILL)
    try:
        chunks = sum(1 for _ in answer)
    except openai.APIError as error:
        return f"{engine.name}: {error}"
    raise AssertionError(f"looks like a whole answer, {chunks} chunks")


@check("plain", "chats go on with the engine that is left", through_arriero=True)
def dead_engine(herd):
    endpoints = {chat(herd)[0] for _ in range(12)}
    expect(len(endpoints) == 1, f"endpoints {endpoints}")
    return f"12 chats by {endpoints.pop()}"


@check("plain", "nothing is left in flight", through_arriero=True)
def nothing_left(herd):
    none_in_flight(herd)


@check("promtool", "metrics are clean after all this", through_arriero=True)
def metrics_are_clean(herd):
    status, text = get(herd.admin + "/metrics")
    expect(status == 200, f"status {status}")
    promtool = Path(os.environ["ARRIERO_REAL_CACHE"]) / "prometheus/usr/bin/promtool"
    told = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, timeout=SECONDS)
    words = (told.stdout + told.stderr).decode()
    expect(told.returncode == 0 and not words.strip(), f"promtool: {words}")
    data = text.decode()
    return f"{sum(not line.startswith('#') for line in data.splitlines())} series"
