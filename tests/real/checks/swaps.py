"""Model swaps: llama.cpp in router mode, which holds two of its three models in memory."""

import json
import time

from herd import SWAPS, get

from .base import GO_ON, HELLO, check, expect
from .openai_python import chat, openai_client


def loaded(herd):
    """Models that the router-mode server holds in memory."""
    rows = json.loads(get(herd.router.url + "/models")[1])["data"]
    return sorted(row["id"] for row in rows if row["status"]["value"] == "loaded")


@check("swaps", "three models in turn on a server that holds two")
def swaps(herd):
    endpoints, slowest = set(), 0.0
    for model in SWAPS * 4:
        begin = time.monotonic()
        endpoint, answer = chat(herd, model)
        slowest = max(slowest, time.monotonic() - begin)
        expect(answer.model == model, f"asked {model}, answered {answer.model}")
        endpoints.add(endpoint)
    expect(len(endpoints) == 1, f"endpoints {endpoints}")
    expect(0 < len(loaded(herd)) <= 2, f"loaded {loaded(herd)}")
    return f"12 chats by {endpoints.pop() or 'the engine'}, slowest {slowest * 1000:.0f} ms, loaded {loaded(herd)}"


@check("swaps", "a stream of a model that is not loaded")
def swap_stream(herd):
    cold = next(model for model in SWAPS if model not in loaded(herd))
    answer = openai_client(herd, cold).chat.completions.create(
        model=cold, messages=HELLO, max_tokens=20, stream=True, extra_body=GO_ON
    )
    chunks = sum(1 for _ in answer)
    expect(chunks > 5 and cold in loaded(herd), f"{chunks} chunks, loaded {loaded(herd)}")
    return f"{cold}: {chunks} chunks"
