"""The requests of one seed, and the client that sends them at their times, whatever became of those before (open loop)."""

import http.client
import json
import random
import threading
import time
from dataclasses import dataclass

from make_model import PHRASE

# By how often they are asked for, most first; sizes are mixed.
POPULAR = ["m3", "m5", "m1", "m6", "m2", "m4"]
PROMPT_TOKENS = 30  # and some bytes that no other request begins with, one token each
OUTPUT_TOKENS = 8
DEVIATION = 0.3  # of the factor on output tokens, which is normal around 1
FLOOR = 0.3
SECONDS = 120  # until a request counts as failed


@dataclass(frozen=True)
class Ask:
    """One request: when (seconds from the start), what."""

    at: float
    model: str
    prompt: str
    tokens: int


@dataclass
class Answer:
    """What became of it; seconds from its own due time, so that a late client does not flatter anyone."""

    model: str
    endpoint: str = ""
    ttft: float = 0.0
    total: float = 0.0
    lag: float = 0.0
    error: str = ""


def popularity():
    """Share of each model: Zipf's law with exponent 1."""
    weights = {model: 1 / rank for rank, model in enumerate(POPULAR, 1)}
    return {model: weight / sum(weights.values()) for model, weight in weights.items()}


def workload(seed, count, rate):
    """Requests at random times, `rate` a second."""
    rng = random.Random(seed)
    shares = popularity()
    at, asks = 0.0, []
    for number in range(count):
        at += rng.expovariate(rate)
        model = rng.choices(list(shares), list(shares.values()))[0]
        factor = max(FLOOR, 1 + DEVIATION * rng.gauss(0, 1))
        prompt = f"{rng.getrandbits(32):08x} {number} " + PHRASE * (PROMPT_TOKENS - 20)
        asks.append(Ask(at, model, prompt, max(1, round(OUTPUT_TOKENS * factor))))
    return asks


def ask(port, request, due):
    """Sends one request and reads its stream to the end."""
    answer = Answer(request.model, lag=time.monotonic() - due)
    body = {"model": request.model, "messages": [{"role": "user", "content": request.prompt}], "stream": True,
            "max_tokens": request.tokens, "ignore_eos": True, "temperature": 0}
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        line.request("POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json"})
        reply = line.getresponse()
        answer.endpoint = reply.getheader("x-arriero-endpoint", "")
        if reply.status != 200:
            raise OSError(f"status {reply.status}: {reply.read(200)!r}")
        done = False
        for row in reply:
            if row.startswith(b"data:") and not answer.ttft:
                answer.ttft = time.monotonic() - due
            done |= row.startswith(b"data: [DONE]")
            if row.startswith(b"error:") or b'"error":' in row:
                raise OSError(row.decode(errors="replace")[:200])
        if not done:
            raise OSError("the stream broke off")
    except (OSError, http.client.HTTPException) as error:
        answer.error = str(error) or type(error).__name__
    finally:
        line.close()
    answer.total = time.monotonic() - due
    return answer


def run(ports, asks):
    """Sends all requests at their times, to the ports in turn; the answers in the order of the requests."""
    answers = [None] * len(asks)
    begin = time.monotonic() + 0.2

    def one(place):
        answers[place] = ask(ports[place % len(ports)], asks[place], begin + asks[place].at)

    threads = []
    for place, request in enumerate(asks):
        time.sleep(max(0.0, begin + request.at - time.monotonic()))
        threads.append(threading.Thread(target=one, args=(place,), daemon=True))
        threads[-1].start()
    for thread in threads:
        thread.join()
    return answers
