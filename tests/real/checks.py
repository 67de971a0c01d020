"""The checks: what people's own clients must get, with real llama.cpp servers behind.

A check takes the herd, raises when something is wrong, and returns a few words on what it saw. Clients never retry, so
that they hide nothing. Generation is bounded by `max_tokens`; `ignore_eos` keeps a random model from stopping early, but
only on the OpenAI paths: the engine does not read it from an Anthropic body, so there a message may be shorter.
"""

import json
import os
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import anthropic
import ollama
import openai

from herd import CHAT, EMBED, LAB_OLLAMA, LAB_VLLM, SWAPS, get, request, wait_until

SECONDS = 60
GO_ON = {"ignore_eos": True}
HELLO = [{"role": "user", "content": "hello"}]
UNKNOWN = "no-such-model"
LONG = 8000

ALL = []


class NotHere(Exception):
    """The check has no meaning without Arriero."""


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


def openai_client(herd, model=CHAT):
    return openai.OpenAI(base_url=herd.url_for(model) + "/v1", api_key="none", max_retries=0, timeout=SECONDS)


def anthropic_client(herd, model=CHAT):
    return anthropic.Anthropic(base_url=herd.url_for(model), api_key="none", max_retries=0, timeout=SECONDS)


def ollama_client(herd):
    return ollama.Client(host=herd.arriero.url, timeout=SECONDS)


def chat(herd, model=CHAT, tokens=4):
    """One short chat: the endpoint that Arriero names for it, and the answer."""
    raw = openai_client(herd, model).chat.completions.with_raw_response.create(
        model=model, messages=HELLO, max_tokens=tokens, extra_body=GO_ON
    )
    answer = raw.parse()
    expect(answer.choices[0].finish_reason == "length", f"finish_reason {answer.choices[0].finish_reason}")
    expect(answer.usage.completion_tokens == tokens, f"usage {answer.usage}")
    endpoint = raw.headers.get("x-arriero-endpoint")
    expect(endpoint or not herd.arriero, "no x-arriero-endpoint on the response")
    return endpoint, answer


def busy_slots(engine):
    """Slots of a llama.cpp server that work on a request now, as the engine itself says."""
    status, body = get(engine.url + "/slots")
    expect(status == 200, f"/slots of {engine.name} answers {status}")
    return [slot for slot in json.loads(body) if slot["is_processing"]]


# ---- openai -------------------------------------------------------------------------------------------------------


@check("openai", "lists the models of all engines")
def models(herd):
    names = {model.id for model in openai_client(herd).models.list()}
    wanted = {CHAT, EMBED, *SWAPS, LAB_OLLAMA, LAB_VLLM} if herd.arriero else {CHAT}
    expect(wanted <= names, f"{sorted(wanted - names)} missing in {sorted(names)}")
    return ", ".join(sorted(names))


@check("openai", "retrieves one model", through_arriero=True)
def one_model(herd):
    expect(openai_client(herd).models.retrieve(SWAPS[0]).id == SWAPS[0], "another model")


@check("openai", "chat")
def one_chat(herd):
    endpoint, answer = chat(herd)
    expect(answer.model == CHAT, f"model {answer.model}")
    return f"{answer.usage.completion_tokens} tokens by {endpoint or 'the engine'}"


@check("openai", "legacy completion")
def completion(herd):
    answer = openai_client(herd).completions.create(model=CHAT, prompt="hello", max_tokens=4, extra_body=GO_ON)
    expect(answer.usage.completion_tokens == 4, f"usage {answer.usage}")


@check("openai", "parallel chats use both engines", through_arriero=True)
def parallel_chats(herd):
    with ThreadPoolExecutor(8) as crowd:
        endpoints = list(crowd.map(lambda _: chat(herd, tokens=64)[0], range(16)))
    shares = {endpoint: endpoints.count(endpoint) for endpoint in sorted(set(endpoints))}
    expect(len(shares) == 2, f"shares {shares}")
    return f"shares {shares}"


@check("openai", "stream arrives in pieces and ends with usage")
def stream(herd):
    tokens, pieces, usage, begin = 600, [], None, time.monotonic()
    answer = openai_client(herd).chat.completions.create(
        model=CHAT, messages=HELLO, max_tokens=tokens, stream=True, extra_body=GO_ON,
        stream_options={"include_usage": True},
    )
    for chunk in answer:
        usage = chunk.usage or usage
        if chunk.choices and chunk.choices[0].delta.content:
            pieces.append(time.monotonic() - begin)
    expect(usage and usage.completion_tokens == tokens, f"usage {usage}")
    expect(len(pieces) > tokens / 4, f"{len(pieces)} pieces for {tokens} tokens")
    first, last = pieces[0], pieces[-1]
    expect(first < last / 2, f"first piece after {first:.3f} s of {last:.3f} s: something buffers")
    return f"{len(pieces)} pieces, first after {first * 1000:.0f} ms of {last * 1000:.0f} ms"


@check("openai", "embeddings")
def embeddings(herd):
    answer = openai_client(herd, EMBED).embeddings.create(model=EMBED, input=["one llama", "two llamas"])
    sizes = [len(row.embedding) for row in answer.data]
    expect(sizes == [64, 64], f"sizes {sizes}")
    norm = sum(value * value for value in answer.data[0].embedding)
    expect(abs(norm - 1) < 0.01, f"squared norm {norm}")


@check("openai", "cancel mid-stream frees the engine's slot")
def cancel(herd):
    answer = openai_client(herd).chat.completions.create(
        model=CHAT, messages=HELLO, max_tokens=LONG, stream=True, extra_body=GO_ON
    )
    seen = sum(1 for _, chunk in zip(range(5), answer))
    expect(seen == 5, f"only {seen} chunks")
    working = [engine for engine in herd.chat if busy_slots(engine)]
    expect(len(working) == 1, f"{len(working)} engines work on one request")
    answer.close()
    took = wait_until(lambda: not busy_slots(working[0]), 3, f"{working[0].name} stops generating")
    return f"{working[0].name} free after {took * 1000:.0f} ms"


@check("openai", "unknown model is a 404 with known names", through_arriero=True)
def unknown_model(herd):
    try:
        openai_client(herd).chat.completions.create(model=UNKNOWN, messages=HELLO, max_tokens=4)
    except openai.NotFoundError as error:
        body = error.body
        expect(isinstance(body, dict) and {"message", "type", "code", "param"} <= set(body), f"body {body}")
        expect(UNKNOWN in body["message"], f"message {body['message']}")
        return body["message"]
    raise AssertionError("answered")


@check("openai", "an engine's own error passes through")
def engine_error(herd):
    long = [{"role": "user", "content": "llama " * 20000}]
    try:
        openai_client(herd).chat.completions.create(model=CHAT, messages=long, max_tokens=4)
    except openai.BadRequestError as error:
        expect("context" in str(error), f"error {error}")
        return f"{type(error).__name__} {error.body.get('type')}"
    raise AssertionError("answered")


# ---- anthropic ----------------------------------------------------------------------------------------------------


@check("anthropic", "message (the model comes last in the body)")
def message(herd):
    answer = anthropic_client(herd).messages.create(model=CHAT, max_tokens=4, messages=HELLO)
    expect(answer.type == "message" and answer.role == "assistant", f"answer {answer}")
    expect(1 <= answer.usage.output_tokens <= 4, f"usage {answer.usage}")
    return f"model {answer.model}, stop reason {answer.stop_reason}"


@check("anthropic", "message stream")
def message_stream(herd):
    events = []
    with anthropic_client(herd).messages.stream(
        model=CHAT, max_tokens=50, messages=HELLO
    ) as answer:
        for event in answer:
            events.append(event.type)
        final = answer.get_final_message()
    expect(events[0] == "message_start" and events[-1] == "message_stop", f"events {events[0]} .. {events[-1]}")
    expect(1 <= final.usage.output_tokens <= 50, f"usage {final.usage}")
    expect("text" in events, f"events {sorted(set(events))}")
    return f"{len(events)} events, {final.usage.output_tokens} tokens"


@check("anthropic", "large message, the model after 100 KiB")
def large_message(herd):
    long = [{"role": "user", "content": "llama " * 20000}]
    try:
        anthropic_client(herd).messages.create(model=CHAT, max_tokens=4, messages=long)
    except anthropic.BadRequestError as error:
        expect("context" in str(error), f"error {error}")
        return "reached the engine, which finds it too long for its context"
    raise AssertionError("answered")


@check("anthropic", "counts tokens")
def count_tokens(herd):
    answer = anthropic_client(herd).messages.count_tokens(model=CHAT, messages=HELLO)
    expect(answer.input_tokens > 0, f"answer {answer}")
    return f"{answer.input_tokens} tokens"


@check("anthropic", "unknown model is a 404 in Anthropic's shape", through_arriero=True)
def anthropic_unknown_model(herd):
    try:
        anthropic_client(herd).messages.create(model=UNKNOWN, max_tokens=4, messages=HELLO)
    except anthropic.NotFoundError as error:
        body = error.body
        expect(isinstance(body, dict) and body.get("type") == "error", f"body {body}")
        expect(body["error"]["type"] == "not_found_error", f"body {body}")
        return body["error"]["message"]
    raise AssertionError("answered")


# ---- model swaps in router mode -----------------------------------------------------------------------------------


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


# ---- lab engines --------------------------------------------------------------------------------------------------


@check("ollama", "lists models and what is loaded", through_arriero=True)
def ollama_lists(herd):
    client = ollama_client(herd)
    names = {model.model for model in client.list().models}
    expect(LAB_OLLAMA in names, f"names {names}")
    return f"{sorted(names)}, loaded {sorted(model.model for model in client.ps().models)}"


@check("ollama", "chat, by the name without :latest", through_arriero=True)
def ollama_chat(herd):
    name = LAB_OLLAMA.removesuffix(":latest")
    answer = ollama_client(herd).chat(model=name, messages=HELLO, options={"num_predict": 8})
    expect(answer.done and answer.message.role == "assistant", f"answer {answer}")
    return f"{answer.eval_count} tokens"


@check("ollama", "chat stream", through_arriero=True)
def ollama_stream(herd):
    answer = ollama_client(herd).chat(model=LAB_OLLAMA, messages=HELLO, stream=True, options={"num_predict": 8})
    parts = list(answer)
    expect(len(parts) > 1 and parts[-1].done and not parts[0].done, f"{len(parts)} parts")
    return f"{len(parts)} parts"


@check("ollama", "generate", through_arriero=True)
def ollama_generate(herd):
    answer = ollama_client(herd).generate(model=LAB_OLLAMA, prompt="hello", options={"num_predict": 8})
    expect(answer.done and answer.response, f"answer {answer}")


@check("ollama", "unknown model is a 404 in Ollama's shape", through_arriero=True)
def ollama_unknown_model(herd):
    try:
        ollama_client(herd).chat(model=UNKNOWN, messages=HELLO)
    except ollama.ResponseError as error:
        expect(error.status_code == 404, f"status {error.status_code}")
        expect(UNKNOWN in error.error, f"error {error.error}")
        return error.error
    raise AssertionError("answered")


@check("openai", "chat and stream by the vLLM-like lab engine", through_arriero=True)
def lab_vllm(herd):
    client = openai_client(herd)
    raw = client.chat.completions.with_raw_response.create(model=LAB_VLLM, messages=HELLO, max_tokens=8)
    expect(raw.parse().usage.completion_tokens > 0, "no usage")
    answer = client.chat.completions.create(model=LAB_VLLM, messages=HELLO, max_tokens=8, stream=True)
    return f"{sum(1 for _ in answer)} chunks by {raw.headers.get('x-arriero-endpoint')}"


# ---- the proxy itself ---------------------------------------------------------------------------------------------


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
    working = [engine for engine in herd.chat if busy_slots(engine)]
    expect(len(working) == 1, f"{len(working)} engines work on one request")
    working[0].stop(signal.SIGKILL)
    try:
        chunks = sum(1 for _ in answer)
    except openai.APIError as error:
        return f"{working[0].name}: {error}"
    raise AssertionError(f"looks like a whole answer, {chunks} chunks")


@check("plain", "chats go on with the engine that is left", through_arriero=True)
def dead_engine(herd):
    endpoints = {chat(herd)[0] for _ in range(12)}
    expect(len(endpoints) == 1, f"endpoints {endpoints}")
    return f"12 chats by {endpoints.pop()}"


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
