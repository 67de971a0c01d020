"""The openai package for Python, against llama.cpp and the vLLM-like lab engine."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import openai

from herd import CHAT, EMBED, LAB_OLLAMA, LAB_VLLM, LONG_CONTEXT, SWAPS

from .base import (
    ASK, CITIES, GO_ON, HELLO, LONG, NEAR, OVER, SECONDS, TOOL, TOOL_TOKENS, UNKNOWN,
    check, engines_own_error, expect, expect_near, expect_pieces, expect_told, expect_vectors, freed, one_in_flight,
    working_engine,
)


def openai_client(herd, model=CHAT):
    return openai.OpenAI(base_url=herd.url_for(model) + "/v1", api_key="none", max_retries=0, timeout=SECONDS)


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
    return expect_pieces(pieces, tokens)


@check("openai", "embeddings")
def embeddings(herd):
    answer = openai_client(herd, EMBED).embeddings.create(model=EMBED, input=["one llama", "two llamas"])
    expect_vectors([row.embedding for row in answer.data])


@check("openai", "cancel mid-stream frees the engine's slot")
def cancel(herd):
    answer = openai_client(herd).chat.completions.create(
        model=CHAT, messages=HELLO, max_tokens=LONG, stream=True, extra_body=GO_ON
    )
    seen = sum(1 for _, chunk in zip(range(5), answer))
    expect(seen == 5, f"only {seen} chunks")
    engine = working_engine(herd)
    one_in_flight(herd)
    answer.close()
    return freed(herd, engine, time.monotonic())


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


@check("openai", "a long prompt, just within the context")
def near_context(herd):
    answer = openai_client(herd, LONG_CONTEXT).chat.completions.create(model=LONG_CONTEXT, messages=NEAR, max_tokens=4)
    return expect_near(answer.usage.prompt_tokens)


@check("openai", "a prompt over the context: the engine's own error")
def engine_error(herd):
    try:
        openai_client(herd, LONG_CONTEXT).chat.completions.create(model=LONG_CONTEXT, messages=OVER, max_tokens=4)
    except openai.BadRequestError as error:
        expect(error.body == engines_own_error(herd), f"error {error.body}")
        return error.body["message"]
    raise AssertionError("answered")


@check("openai", "a tool call and its result")
def tools(herd):
    client = openai_client(herd)
    first = client.chat.completions.create(
        model=CHAT, messages=ASK, tools=[TOOL], tool_choice="required", max_tokens=TOOL_TOKENS
    ).choices[0]
    expect(first.finish_reason == "tool_calls", f"finish_reason {first.finish_reason}")
    (call,) = first.message.tool_calls
    expect(json.loads(call.function.arguments)["city"] in CITIES, f"arguments {call.function.arguments}")
    told = {"role": "tool", "tool_call_id": call.id, "content": "rain"}
    answer = client.chat.completions.create(
        model=CHAT, messages=[*ASK, first.message, told], tools=[TOOL], max_tokens=8
    ).choices[0]
    expect_told(answer.message.content)
    return f"{call.function.name}({call.function.arguments!r})"


@check("openai", "a streamed tool call arrives in pieces")
def streamed_tools(herd):
    answer = openai_client(herd).chat.completions.create(
        model=CHAT, messages=ASK, tools=[TOOL], max_tokens=TOOL_TOKENS, stream=True
    )
    deltas = [chunk.choices[0].delta for chunk in answer]
    parts = [delta.tool_calls[0].function for delta in deltas if delta.tool_calls]
    arguments = json.loads("".join(part.arguments or "" for part in parts))
    expect(parts[0].name == "weather" and arguments["city"] in CITIES, f"{parts[0].name}({arguments})")
    expect(len(parts) > 2, f"{len(parts)} pieces")
    return f"{len(parts)} pieces"


@check("openai", "chat and stream by the vLLM-like lab engine", through_arriero=True)
def lab_vllm(herd):
    client = openai_client(herd)
    raw = client.chat.completions.with_raw_response.create(model=LAB_VLLM, messages=HELLO, max_tokens=8)
    expect(raw.parse().usage.completion_tokens > 0, "no usage")
    answer = client.chat.completions.create(model=LAB_VLLM, messages=HELLO, max_tokens=8, stream=True)
    return f"{sum(1 for _ in answer)} chunks by {raw.headers.get('x-arriero-endpoint')}"
