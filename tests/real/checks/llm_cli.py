"""The `llm` command line, with models of extra-openai-models.yaml in a user folder of its own.

Facts met on the way: it can neither force a tool nor embed by a model of that file; its embedding models have OpenAI's
names, so Arriero gives one of them to ours (an alias) and the library's own variables say where it is. ignore_eos cannot
be asked for; biasing the end token away does the same. Half of a run is its start (above a second of CPU).
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from herd import ALIAS, CHAT, LONG_CONTEXT

from .base import (
    CITIES, HELLO, LONG, NEAR, OVER, SECONDS, TOOL_TOKENS,
    check, engines_own_error, expect, expect_near, expect_pieces, expect_told, freed, one_in_flight, working_engine,
)

LLM = str(Path(sys.executable).with_name("llm"))
HELLO_TEXT = HELLO[0]["content"]
END_TOKEN = 2
GO_ON = ["-o", "logit_bias", json.dumps({str(END_TOKEN): -100})]
# Literal by its module's name: llm takes whatever can be called in this code for a tool.
WEATHER = f"""
import typing
def weather(city: typing.Literal{CITIES!r}) -> str:
    "Weather"
    return "rain in " + city
"""


def environment(herd):
    """Writes the user folder; the environment that points at it."""
    folder = herd.logs / "llm"
    folder.mkdir(exist_ok=True)
    models = [
        {"model_id": name, "model_name": name, "api_base": herd.url_for(name) + "/v1", "supports_tools": True}
        for name in (CHAT, LONG_CONTEXT)
    ]
    (folder / "extra-openai-models.yaml").write_text(json.dumps(models))  # JSON is YAML, too
    return {**os.environ, "LLM_USER_PATH": str(folder), "PYTHONUNBUFFERED": "1"}


def start(herd, *arguments, **variables):
    return subprocess.Popen(
        [LLM, *map(str, arguments)], env=environment(herd) | variables,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )


def run(herd, *arguments, text="", code=0, **variables):
    """Output and error output of a run with this text on its input; it must end with this code."""
    with start(herd, *arguments, **variables) as process:
        try:
            out, words = process.communicate(text.encode(), timeout=2 * SECONDS)
        finally:
            process.kill()
    out, words = out.decode(errors="replace"), words.decode(errors="replace")
    expect(process.returncode == code, f"code {process.returncode}: {words[-300:]}")
    return out, words


def usage(words):
    """Input and output tokens of `--usage`'s line."""
    found = re.search(r"Token usage: ([\d,]+) input, ([\d,]+) output", words)
    expect(found, f"no usage in {words[-300:]!r}")
    return [int(number.replace(",", "")) for number in found.groups()]


@check("llm", "chat")
def one_chat(herd):
    out, words = run(herd, "-m", CHAT, "--no-log", "--no-stream", "--usage", "-o", "max_tokens", 8, *GO_ON, HELLO_TEXT)
    expect(usage(words)[1] == 8 and out, f"{usage(words)}, {out!r}")


@check("llm", "stream arrives in pieces and ends with usage")
def stream(herd):
    tokens, times, begin = 400, [], None
    with start(herd, "-m", CHAT, "--no-log", "--usage", "-o", "max_tokens", tokens, *GO_ON, HELLO_TEXT) as process:
        process.stdin.close()
        while os.read(process.stdout.fileno(), 65536):
            if not times:
                begin = time.monotonic()
                working_engine(herd)  # still at it while the first piece is printed: nothing waits for the whole
            times.append(time.monotonic() - begin)
        words = process.stderr.read().decode(errors="replace")
    expect(process.returncode == 0 and usage(words)[1] == tokens, f"code {process.returncode}: {words[-300:]}")
    return expect_pieces(times, tokens)


@check("llm", "Ctrl-C mid-stream frees the engine's slot")
def cancel(herd):
    with start(herd, "-m", CHAT, "--no-log", "-o", "max_tokens", LONG, *GO_ON, HELLO_TEXT) as process:
        try:
            process.stdin.close()
            expect(os.read(process.stdout.fileno(), 1), "no output")
            engine = working_engine(herd)
            one_in_flight(herd)
            since = time.monotonic()
            process.send_signal(signal.SIGINT)
            return freed(herd, engine, since)
        finally:
            process.kill()


@check("llm", "a tool call and its result")
def tools(herd):
    arguments = ["--functions", WEATHER, "--tools-debug", "-o", "max_tokens", TOOL_TOKENS]
    out, words = run(herd, "-m", CHAT, "--no-log", *arguments, "weather?")
    expect_told(out)
    calls = re.findall(r"Tool call: weather\((.*)\)", words)
    expect(len(calls) == 1 and any(city in calls[0] for city in CITIES), f"calls {calls} in {words[-300:]!r}")
    expect("rain in" in words, f"no result in {words[-300:]!r}")
    return f"weather({calls[0]})"


@check("llm", "embeddings, by an alias of Arriero", through_arriero=True)
def embeddings(herd):
    where = {"OPENAI_BASE_URL": herd.arriero.url + "/v1", "OPENAI_API_KEY": "none"}
    out, _ = run(herd, "embed", "-m", ALIAS, "-c", "one llama", **where)
    expect(len(json.loads(out)) == 64, f"{out[:100]}")


@check("llm", "a long prompt, just within the context")
def near_context(herd):
    options = ["--no-log", "--usage", "-o", "max_tokens", 4, *GO_ON]
    _, words = run(herd, "-m", LONG_CONTEXT, *options, text=NEAR[0]["content"])
    return expect_near(usage(words)[0])


@check("llm", "a prompt over the context: the engine's own error")
def over_context(herd):
    _, words = run(herd, "-m", LONG_CONTEXT, "--no-log", "-o", "max_tokens", 4, text=OVER[0]["content"], code=1)
    message = engines_own_error(herd)["message"]
    expect(message in words, f"said {words[-300:]!r}")
    return message
