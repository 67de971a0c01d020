"""The anthropic package for Python, against llama.cpp's own /v1/messages."""

import anthropic

from herd import CHAT

from .base import ASK, CITIES, HELLO, PARAMETERS, SECONDS, TOOL_TOKENS, UNKNOWN, check, expect, expect_told


def anthropic_client(herd, model=CHAT):
    return anthropic.Anthropic(base_url=herd.url_for(model), api_key="none", max_retries=0, timeout=SECONDS)


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


@check("anthropic", "a tool use and its result")
def tool_use(herd):
    client = anthropic_client(herd)
    tools = [{"name": "weather", "description": "Weather", "input_schema": PARAMETERS}]
    first = client.messages.create(model=CHAT, max_tokens=TOOL_TOKENS, messages=ASK, tools=tools)
    expect(first.stop_reason == "tool_use", f"stop reason {first.stop_reason}")
    use = next(part for part in first.content if part.type == "tool_use")
    expect(use.input["city"] in CITIES, f"input {use.input}")
    told = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": use.id, "content": "rain"}]}
    history = [*ASK, {"role": "assistant", "content": [use]}, told]
    answer = client.messages.create(model=CHAT, max_tokens=8, messages=history, tools=tools)
    expect_told(answer.content[0].text)
    return f"{use.name}({use.input})"
