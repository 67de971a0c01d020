"""langchain: langchain-openai against llama.cpp, langchain-ollama against the lab's Ollama.

Facts met on the way: ChatOpenAI sends its limit as `max_completion_tokens`, which llama.cpp reads too. OpenAIEmbeddings
sends token numbers of OpenAI's own tokenizer, which it fetches from the network, unless `check_embedding_ctx_length` is
off.
"""

import time
from typing import Literal

import openai
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_ollama import ChatOllama, OllamaEmbeddings
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

from herd import CHAT, EMBED, LAB_OLLAMA, LONG_CONTEXT

from .base import (
    ASK, CITIES, GO_ON, HELLO, LONG, NEAR, OVER, SECONDS, TOOL_TOKENS,
    check, engines_own_error, expect, expect_near, expect_pieces, expect_told, expect_vectors, freed, none_in_flight,
    one_in_flight, working_engine,
)


@tool
def weather(city: Literal["Oslo", "Lima"]) -> str:
    """Weather"""
    return f"rain in {city}"


def chat_openai(herd, model=CHAT, tokens=4, **options):
    options = {"extra_body": GO_ON, "max_retries": 0, "timeout": SECONDS, **options}
    return ChatOpenAI(base_url=herd.url_for(model) + "/v1", api_key="none", model=model, max_tokens=tokens, **options)


def chat_ollama(herd, tokens=8, **headers):
    return ChatOllama(
        base_url=herd.arriero.url, model=LAB_OLLAMA, num_predict=tokens,
        client_kwargs={"timeout": SECONDS, "headers": headers},
    )


def arrivals(stream):
    """Arrival times of the pieces that hold text, and all pieces in one."""
    begin, times, whole = time.monotonic(), [], None
    for piece in stream:
        whole = piece if whole is None else whole + piece
        if piece.content:
            times.append(time.monotonic() - begin)
    return times, whole


@check("langchain-openai", "chat")
def one_chat(herd):
    answer = chat_openai(herd).invoke(HELLO)
    expect(answer.usage_metadata["output_tokens"] == 4, f"usage {answer.usage_metadata}")


@check("langchain-openai", "stream arrives in pieces and ends with usage")
def stream(herd):
    times, whole = arrivals(chat_openai(herd, tokens=200, stream_usage=True).stream(HELLO))
    expect(whole.usage_metadata["output_tokens"] == 200, f"usage {whole.usage_metadata}")
    return expect_pieces(times, 200)


@check("langchain-openai", "cancel mid-stream frees the engine's slot")
def cancel(herd):
    answer = chat_openai(herd, tokens=LONG).stream(HELLO)
    seen = sum(1 for _, _ in zip(range(5), answer))
    expect(seen == 5, f"only {seen} chunks")
    engine = working_engine(herd)
    one_in_flight(herd)
    answer.close()
    return freed(herd, engine, time.monotonic())


@check("langchain-openai", "a tool call and its result")
def tools(herd):
    model = chat_openai(herd, tokens=TOOL_TOKENS, extra_body=None)
    first = model.bind_tools([weather], tool_choice="required").invoke(ASK)
    (call,) = first.tool_calls
    expect(call["name"] == "weather" and call["args"]["city"] in CITIES, f"call {call}")
    result = weather.invoke(call)
    expect(isinstance(result, ToolMessage), f"result {result}")
    expect_told(model.bind_tools([weather]).invoke([HumanMessage("weather?"), first, result]).content)
    return f"{call['name']}({call['args']})"


@check("langchain-openai", "embeddings")
def embeddings(herd):
    client = OpenAIEmbeddings(
        base_url=herd.url_for(EMBED) + "/v1", api_key="none", model=EMBED, check_embedding_ctx_length=False,
        max_retries=0,
    )
    expect_vectors(client.embed_documents(["one llama", "two llamas"]))


@check("langchain-openai", "a long prompt, just within the context")
def near_context(herd):
    return expect_near(chat_openai(herd, LONG_CONTEXT).invoke(NEAR).usage_metadata["input_tokens"])


@check("langchain-openai", "a prompt over the context: the engine's own error")
def over_context(herd):
    try:
        chat_openai(herd, LONG_CONTEXT).invoke(OVER)
    except openai.BadRequestError as error:
        expect(error.body == engines_own_error(herd), f"error {error.body}")
        return f"{type(error).__name__}: {error.body['message']}"
    raise AssertionError("answered")


@check("langchain-ollama", "chat and stream", through_arriero=True)
def ollama_chat(herd):
    answer = chat_ollama(herd).invoke(HELLO)
    expect(answer.usage_metadata["output_tokens"] == 8, f"usage {answer.usage_metadata}")
    times, whole = arrivals(chat_ollama(herd, tokens=40).stream(HELLO))
    expect(whole.usage_metadata["output_tokens"] == 40, f"usage {whole.usage_metadata}")
    return expect_pieces(times, 40)


@check("langchain-ollama", "cancel mid-stream frees the engine's slot", through_arriero=True)
def ollama_cancel(herd):
    answer = chat_ollama(herd, LONG, **{"x-lab-tokens": str(2 * LONG)}).stream(HELLO)
    seen = sum(1 for _, _ in zip(range(5), answer))
    expect(seen == 5, f"only {seen} chunks")
    one_in_flight(herd)
    answer.close()
    none_in_flight(herd)
    begin = time.monotonic()
    chat_ollama(herd).invoke(HELLO)
    took = time.monotonic() - begin
    expect(took < 5, f"the next chat took {took:.1f} s: the lab's one slot was not free")
    return f"the next chat takes {took * 1000:.0f} ms"


@check("langchain-ollama", "tools and a tool's result reach the engine", through_arriero=True)
def ollama_tools(herd):
    """The lab calls no tools, but it counts them, a call and its result into the prompt."""
    calls = [{"name": "weather", "args": {"city": "Oslo"}, "id": "call-1"}]
    call = {"role": "assistant", "content": "", "tool_calls": calls}
    told = {"role": "tool", "tool_call_id": "call-1", "content": "rain"}
    model, with_tools = chat_ollama(herd), chat_ollama(herd).bind_tools([weather])
    answers = [model.invoke(ASK), with_tools.invoke(ASK), with_tools.invoke([*ASK, call, told])]
    counts = [answer.usage_metadata["input_tokens"] for answer in answers]
    expect(counts[0] < counts[1] < counts[2], f"prompt tokens {counts}")
    return f"prompt tokens {counts}"


@check("langchain-ollama", "embeddings", through_arriero=True)
def ollama_embeddings(herd):
    vectors = OllamaEmbeddings(base_url=herd.arriero.url, model=LAB_OLLAMA).embed_documents(["one llama", "two llamas"])
    expect(len(vectors) == 2 and len(vectors[0]) == len(vectors[1]) > 0, f"{len(vectors)} vectors")
    expect(vectors[0] != vectors[1], "two texts, one vector")


@check("langchain-ollama", "a long prompt", through_arriero=True)
def ollama_long(herd):
    tokens = chat_ollama(herd).invoke(NEAR).usage_metadata["input_tokens"]
    size = len(NEAR[0]["content"])
    expect(tokens > size / 8, f"{tokens} tokens for {size} bytes")
    return f"{size >> 10} KiB, {tokens} tokens"
