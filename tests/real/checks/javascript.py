"""The JavaScript clients: openai, the Vercel AI SDK (`ai` with its OpenAI-compatible provider), ollama.

Each runs in a node process of its own that takes orders, see js/session.mjs. The openai and ai ones talk to llama.cpp,
the ollama one to the lab's Ollama. Facts met on the way: the newest majors of openai (7) and ai (7) want node 22, so the
versions are the last before; an aborted stream just ends in both, and raises in ollama.
"""

import json
import queue
import subprocess
import threading
import time

from herd import CHAT, EMBED, LAB_OLLAMA, LAB_VLLM, LONG_CONTEXT, SWAPS

from .base import (
    ASK, CITIES, GO_ON, HELLO, LONG, NEAR, OVER, PARAMETERS, SECONDS, TOOL, TOOL_TOKENS, UNKNOWN,
    NotHere, check, engines_own_error, expect, expect_near, expect_pieces, expect_told, expect_vectors, freed,
    none_in_flight, one_in_flight, working_engine,
)


class Refused(Exception):
    """The library raised; `error` is that, flattened."""

    def __init__(self, error):
        super().__init__(f"{error['name']} {error['status']}: {error['message']}")
        self.error = error


class Session:
    """A node process that runs one client library."""

    def __init__(self, herd, script):
        if not (herd.js / "node_modules").is_dir():
            raise NotHere("no node, no JavaScript clients")
        self.herd = herd
        self.log = open(herd.logs / f"js-{script}.log", "ab")
        self.process = subprocess.Popen(
            ["node", "session.mjs", f"{script}.mjs"],
            cwd=herd.js, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True, encoding="utf-8",
        )
        self.lines = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put("")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()
        self.log.close()

    def ask(self, do, model=CHAT, **order):
        """Has the library do it; its result, or raises what it raised."""
        order |= {"do": do, "model": model, "url": self.herd.url_for(model), "seconds": SECONDS}
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        line = self.lines.get(timeout=SECONDS)
        expect(line, f"node ended, see {self.log.name}")
        answer = json.loads(line)
        if "error" in answer:
            raise Refused(answer["error"])
        return answer["ok"]


def lists_models(script, wanted):
    def run(herd):
        with Session(herd, script) as node:
            names = set(node.ask("models"))
        expect(wanted <= names, f"{sorted(wanted - names)} missing in {sorted(names)}")
        return f"{len(names)} models"

    return run


def chats(script):
    def run(herd):
        with Session(herd, script) as node:
            for _ in range(3):  # the later ones on a connection that was kept open
                answer = node.ask("chat", messages=HELLO, tokens=4, goOn=GO_ON)
                expect(answer["completion"] == 4 and answer["finish"] == "length", f"answer {answer}")

    return run


def streams(script):
    def run(herd):
        with Session(herd, script) as node:
            answer = node.ask("stream", messages=HELLO, tokens=200, goOn=GO_ON)
        expect(answer["completion"] == 200, f"{answer['completion']} tokens")
        return expect_pieces(answer["times"], 200)

    return run


def cancels(script):
    def run(herd):
        with Session(herd, script) as node:
            node.ask("begin", messages=HELLO, tokens=LONG, goOn=GO_ON)
            engine = working_engine(herd)
            one_in_flight(herd)
            since = time.monotonic()
            how = node.ask("cancel")
            return f"{freed(herd, engine, since)}; the stream ends with {how}"

    return run


def calls_tools(script):
    def run(herd):
        with Session(herd, script) as node:
            answer = node.ask("tools", messages=ASK, tokens=TOOL_TOKENS, name="weather", parameters=PARAMETERS)
        (call,) = answer["calls"]
        expect(call["city"] in CITIES, f"call {call}")
        expect_told(answer["text"])
        expect(answer["roles"] == ["user", "assistant", "tool", "assistant"], f"roles {answer['roles']}")
        return f"called with {call}"

    return run


def embeds(script):
    def run(herd):
        with Session(herd, script) as node:
            expect_vectors(node.ask("embed", model=EMBED, input=["one llama", "two llamas"]))

    return run


def near_context(script):
    def run(herd):
        with Session(herd, script) as node:
            return expect_near(node.ask("chat", model=LONG_CONTEXT, messages=NEAR, tokens=4)["prompt"])

    return run


def over_context(script):
    def run(herd):
        with Session(herd, script) as node:
            try:
                node.ask("chat", model=LONG_CONTEXT, messages=OVER, tokens=4)
            except Refused as refused:
                error = refused.error
                told = error["body"] or json.loads(error["raw"])["error"]
                expect(error["status"] == 400 and told == engines_own_error(herd), f"error {error}")
                return f"{error['name']}: {told['message']}"
        raise AssertionError("answered")

    return run


check("openai.js", "lists the models of all engines", through_arriero=True)(
    lists_models("openai", {CHAT, EMBED, LONG_CONTEXT, *SWAPS, LAB_OLLAMA, LAB_VLLM})
)
for client, script in (("openai.js", "openai"), ("ai.js", "ai")):
    check(client, "chats on one connection")(chats(script))
    check(client, "stream arrives in pieces and ends with usage")(streams(script))
    check(client, "cancel mid-stream frees the engine's slot")(cancels(script))
    check(client, "the library's own loop of tool calls")(calls_tools(script))
    check(client, "embeddings")(embeds(script))
    check(client, "a long prompt, just within the context")(near_context(script))
    check(client, "a prompt over the context: the engine's own error")(over_context(script))


# ---- ollama: only the lab speaks its API -------------------------------------------------------------------------

check("ollama.js", "lists models", through_arriero=True)(lists_models("ollama", {LAB_OLLAMA}))


@check("ollama.js", "chat and stream", through_arriero=True)
def ollama_chat(herd):
    with Session(herd, "ollama") as node:
        answer = node.ask("chat", model=LAB_OLLAMA, messages=HELLO, tokens=8)
        expect(answer["completion"] == 8, f"answer {answer}")
        answer = node.ask("stream", model=LAB_OLLAMA, messages=HELLO, tokens=40)
        expect(answer["completion"] == 40, f"answer {answer}")
        return expect_pieces(answer["times"], 40)


@check("ollama.js", "cancel mid-stream frees the engine's slot", through_arriero=True)
def ollama_cancel(herd):
    """The lab has one slot per model: were the long answer not stopped, the short one would wait for it (a minute)."""
    with Session(herd, "ollama") as node:
        node.ask("begin", model=LAB_OLLAMA, messages=HELLO, tokens=LONG, headers={"x-lab-tokens": str(2 * LONG)})
        one_in_flight(herd)
        how = node.ask("cancel")
        none_in_flight(herd)
        begin = time.monotonic()
        node.ask("chat", model=LAB_OLLAMA, messages=HELLO, tokens=4)
        took = time.monotonic() - begin
        expect(took < 5, f"the next chat took {took:.1f} s")
        return f"the stream ends with {how}, the next chat takes {took * 1000:.0f} ms"


@check("ollama.js", "tools and a tool's result reach the engine", through_arriero=True)
def ollama_tools(herd):
    """The lab calls no tools. It counts them into the prompt, and so it does with a call and its result."""
    call = {"function": {"name": "weather", "arguments": {"city": CITIES[0]}}}
    result = {"role": "tool", "tool_name": "weather", "content": "rain"}
    told = [{"role": "assistant", "content": "", "tool_calls": [call]}, result]
    with Session(herd, "ollama") as node:
        plain = node.ask("chat", model=LAB_OLLAMA, messages=ASK, tokens=4)["prompt"]
        offered = node.ask("chat", model=LAB_OLLAMA, messages=ASK, tokens=4, tools=[TOOL])["prompt"]
        answered = node.ask("chat", model=LAB_OLLAMA, messages=[*ASK, *told], tokens=4, tools=[TOOL])["prompt"]
    expect(plain < offered < answered, f"prompt tokens {plain}, {offered}, {answered}")
    return f"prompt tokens {plain}, {offered}, {answered}"


@check("ollama.js", "embeddings", through_arriero=True)
def ollama_embed(herd):
    with Session(herd, "ollama") as node:
        vectors = node.ask("embed", model=LAB_OLLAMA, input=["one llama", "two llamas"])
    expect(len(vectors) == 2 and len(vectors[0]) == len(vectors[1]) > 0, f"{len(vectors)} vectors")
    expect(vectors[0] != vectors[1], "two texts, one vector")


@check("ollama.js", "a long prompt", through_arriero=True)
def ollama_long(herd):
    with Session(herd, "ollama") as node:
        short = node.ask("chat", model=LAB_OLLAMA, messages=HELLO, tokens=4)["prompt"]
        long = node.ask("chat", model=LAB_OLLAMA, messages=NEAR, tokens=4)["prompt"]
    size = len(NEAR[0]["content"])
    expect(long > short + size / 8, f"{long} tokens for {size} bytes")
    return f"{size >> 10} KiB, {long} tokens"


@check("ollama.js", "unknown model is a 404 in Ollama's shape", through_arriero=True)
def ollama_unknown_model(herd):
    with Session(herd, "ollama") as node:
        try:
            node.ask("chat", model=UNKNOWN, messages=HELLO, tokens=4)
        except Refused as refused:
            expect(refused.error["status"] == 404 and UNKNOWN in refused.error["message"], f"error {refused.error}")
            return refused.error["message"]
    raise AssertionError("answered")
