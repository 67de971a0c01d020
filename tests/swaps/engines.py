"""The engines, what they can do, and Arriero before them. Processes are tests/real/herd.py's.

Models take one thread each. Where there are processors enough, each engine is tied to one of its own, so that it is one
node whose models share it. A load is a line in the engine's log: the router says when it starts a model.
"""

import json
import os
import statistics
import time
from dataclasses import dataclass

from herd import SERVER, Herd, free_port, get, request, wait_until
from load import OUTPUT_TOKENS, POPULAR, PROMPT_TOKENS, Ask, ask, popularity
from make_model import PHRASE

HELD = 2  # models in memory at once, per engine
LOAD_LINE = b"spawning server instance with name="


@dataclass
class Ability:
    """What one model does on an idle engine: seconds, tokens a second."""

    gigabytes: float
    load: float
    decode: float
    prefill: float

    def work(self):
        """Seconds of a request of mean length, load left out."""
        return PROMPT_TOKENS / self.prefill + OUTPUT_TOKENS / self.decode


class Fleet:
    """Router-mode engines that stay, and an Arriero per run."""

    def __init__(self, herd: Herd, count):
        self.herd = herd
        self.engines = []
        for number in range(count):
            port = free_port()
            options = ["--host", "127.0.0.1", "--port", port, "-t", 1, "--offline", "--no-ui", "--metrics", "--slots",
                       "--models-dir", "/models/swaps", "--models-max", HELD, "-c", 2048, "-np", 1]
            tie = ["taskset", "-c", number] if count <= processors() else []
            command = [*tie, "chroot", herd.chroot, SERVER, *options]
            self.engines.append(herd.start(f"e{number + 1}", port, command, "/health"))

    def states(self, engine):
        status, body = get(engine.url + "/models")
        return {row["id"]: row["status"]["value"] for row in json.loads(body)["data"]} if status == 200 else {}

    def empty(self):
        """Unloads every model of every engine."""
        for engine in self.engines:
            for model, state in self.states(engine).items():
                if state != "unloaded":
                    request("POST", engine.url + "/models/unload", {"model": model}, 20)
            settled = lambda: set(self.states(engine).values()) == {"unloaded"}
            wait_until(settled, 30, f"{engine.name} without models")

    def loads(self):
        """Loads so far, per engine."""
        return [engine.log.read_bytes().count(LOAD_LINE) for engine in self.engines]

    def calibrate(self, rounds):
        """What each model does on the first engine while nothing else runs: medians of so many rounds."""
        engine = self.engines[0]
        found = {}
        for model in sorted(POPULAR):
            size = (self.herd.chroot / "models/swaps" / f"{model}.gguf").stat().st_size / 1e9
            rows = [self.measure(engine, model, number) for number in range(rounds)]
            found[model] = Ability(size, *(statistics.median(column) for column in zip(*rows)))
        return found

    def measure(self, engine, model, number):
        """Seconds of a load, decode and prefill rate of one model."""
        self.empty()

        def first(kind):
            text = f"{kind} {number} {time.monotonic_ns()} " + PHRASE * (PROMPT_TOKENS - 20)
            answer = ask(engine.port, Ask(0, model, text, 2), time.monotonic())
            assert not answer.error, f"{model}: {answer.error}"
            return answer.ttft

        cold, warm = first("cold"), first("warm")
        text = f"rate {number} {time.monotonic_ns()} " + PHRASE * 100
        body = {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 64, "ignore_eos": True}
        status, reply = request("POST", engine.url + "/v1/chat/completions", body, 60)
        assert status == 200, f"{model}: status {status}"
        timings = json.loads(reply)["timings"]
        return max(cold - warm, 0.001), timings["predicted_per_second"], timings["prompt_per_second"]

    def arriero(self, arm):
        """A new Arriero before the engines, ready and with all models listed; its process."""
        port = free_port()
        config = self.herd.logs / f"{arm}.yaml"
        lines = [f"listen: 127.0.0.1:{port}", "pools:", "  swaps:", "    endpoints:"]
        lines += [f'      - {{ name: {engine.name}, url: "{engine.url}", engine: llama-cpp, slots: 1 }}' for engine in self.engines]
        caps = ", caps: false" if arm == "least-connection" else ""
        lines += ["routes:", f"  - {{ pool: swaps, balance: {arm}{caps} }}"]
        config.write_text("\n".join(lines) + "\n")
        process = self.herd.start("arriero", port, [self.herd.binary, "run", "-c", config], "/ready")

        def listed():
            status, body = get(process.url + "/v1/models")
            return status == 200 and {row["id"] for row in json.loads(body)["data"]} >= set(POPULAR)

        wait_until(listed, 30, "all models listed")
        return process


def processors():
    return os.cpu_count() or 1


def rate(abilities, engines, rho):
    """Requests a second that are `rho` of what the engines, or their processors, can do; loads are not in it."""
    work = sum(share * abilities[model].work() for model, share in popularity().items())
    return rho * min(engines, processors()) / work
