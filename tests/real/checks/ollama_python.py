"""The ollama package for Python, against the lab's Ollama: llama.cpp does not speak /api/*."""

import ollama

from herd import LAB_OLLAMA

from .base import HELLO, SECONDS, UNKNOWN, check, expect


def ollama_client(herd):
    return ollama.Client(host=herd.arriero.url, timeout=SECONDS)


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
