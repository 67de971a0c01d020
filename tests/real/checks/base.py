"""What all checks share: how one is registered, the messages and the tool they send, when an engine counts as idle.

Generation is bounded by `max_tokens`; `ignore_eos` keeps a random model from stopping early. The engine reads that on
the OpenAI paths only: an Anthropic message may be shorter.
"""

import json
import time
from dataclasses import dataclass
from typing import Callable

from herd import CONTEXT, LONG_CONTEXT, get, request, wait_until
from make_model import PHRASE

SECONDS = 60
GO_ON = {"ignore_eos": True}
HELLO = [{"role": "user", "content": "hello"}]
UNKNOWN = "no-such-model"
LONG = 8000

# The model calls whatever tool it is offered, see make_model.py. Of the arguments only those end for certain that the
# schema bounds, so no free text here. A tool_choice that names a function is taken for "auto" by this llama.cpp.
CITIES = ["Oslo", "Lima"]
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string", "enum": CITIES}}, "required": ["city"]}
TOOL = {"type": "function", "function": {"name": "weather", "description": "Weather", "parameters": PARAMETERS}}
ASK = [{"role": "user", "content": "weather?"}]
TOOL_TOKENS = 200

# Far beyond the 64 KiB that a proxy may keep of a body by itself, one below and one above the engine's context.
NEAR = [{"role": "user", "content": PHRASE * (CONTEXT - 100)}]
OVER = [{"role": "user", "content": PHRASE * (CONTEXT + 100)}]

ALL = []


class NotHere(Exception):
    """The check has no meaning in this run."""


@dataclass
class Check:
    """One line of the table."""

    client: str
    what: str
    run: Callable


def check(client, what, through_arriero=False):
    """Registers a check, in the order of the file."""

    def register(function):
        def run(herd):
            if through_arriero and not herd.arriero:
                raise NotHere("only through Arriero")
            return function(herd)

        ALL.append(Check(client, what, run))
        return function

    return register


def expect(condition, text):
    if not condition:
        raise AssertionError(text)


def busy_slots(engine):
    """Slots of a llama.cpp server that work on a request now, as the engine itself says."""
    status, body = get(engine.url + "/slots")
    expect(status == 200, f"/slots of {engine.name} answers {status}")
    return [slot for slot in json.loads(body) if slot["is_processing"]]


def working_engine(herd):
    """The one chat engine that is at work on the one request."""
    working = [engine for engine in herd.chat if busy_slots(engine)]
    expect(len(working) == 1, f"{len(working)} engines work on one request")
    return working[0]


def in_flight(herd):
    """Requests that hold a slot, as Arriero counts them over all endpoints."""
    status, text = get(herd.admin + "/metrics")
    expect(status == 200, f"/metrics answers {status}")
    rows = [line for line in text.decode().splitlines() if line.startswith("arriero_endpoint_in_flight{")]
    expect(rows, "no arriero_endpoint_in_flight")
    return sum(float(row.split()[-1]) for row in rows)


def one_in_flight(herd):
    expect(not herd.arriero or in_flight(herd) == 1, "the running stream is not counted once in Arriero")


def none_in_flight(herd):
    """Waits until Arriero has given every slot back."""
    if herd.arriero:
        wait_until(lambda: in_flight(herd) == 0, 3, "in-flight back at 0")


def freed(herd, engine, since):
    """After a cancel at `since`: waits until the engine is idle and Arriero counts nothing in flight."""
    wait_until(lambda: not busy_slots(engine), 3, f"{engine.name} stops generating")
    took = time.monotonic() - since
    none_in_flight(herd)
    return f"{engine.name} free after {took * 1000:.0f} ms"


def engines_own_error(herd):
    """What the engine itself says to the prompt that is too long: the error object of its answer."""
    ask = {"model": LONG_CONTEXT, "messages": OVER}
    status, body = request("POST", herd.long.url + "/v1/chat/completions", ask, SECONDS)
    expect(status == 400, f"the engine answers {status} to a prompt over its context")
    return json.loads(body)["error"]


def expect_told(text):
    """The answer to a tool's result, which proves that the engine saw it as one."""
    expect((text or "").strip() == PHRASE.strip(), f"answer {text!r}")


def expect_near(tokens):
    """The prompt NEAR went through whole, if the engine counted this many tokens in it."""
    expect(CONTEXT - 100 <= tokens < CONTEXT, f"{tokens} prompt tokens")
    return f"{len(NEAR[0]['content']) >> 10} KiB, {tokens} tokens"


def expect_vectors(vectors):
    """Two unit vectors of the embedding model's width."""
    sizes = [len(vector) for vector in vectors]
    expect(sizes == [64, 64], f"sizes {sizes}")
    norms = [sum(value * value for value in vector) for vector in vectors]
    expect(all(abs(norm - 1) < 0.01 for norm in norms), f"squared norms {norms}")
    expect(vectors[0] != vectors[1], "two texts, one vector")


def expect_pieces(times, tokens):
    """A stream of this many tokens came in pieces, the first long before the last (arrival times, any unit)."""
    expect(len(times) > tokens / 4, f"{len(times)} pieces for {tokens} tokens")
    expect(times[0] < times[-1] / 2, f"first piece after {times[0]:.3f} of {times[-1]:.3f}: something buffers")
    return f"{len(times)} pieces"
