"""Starts and stops the processes of a run: real llama.cpp servers, lab engines, Arriero before them.

Every process listens on a loopback port that was free a moment before, has its own log file and process group, and
counts as started when it answers: nothing sleeps and hopes.
"""

import json
import os
import resource
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

START_SECONDS = 60
DIRECT = "none"
LOG_BYTES = 64 << 20

# By its whole path: in router mode the server starts itself again for each model, and without /proc it has only the name
# that it was called by.
SERVER = "/usr/bin/llama-server"

CHAT = "tiny-chat"
EMBED = "tiny-embed"
LONG_CONTEXT = "tiny-long"
CONTEXT = 4096  # tokens, of the model that reads fast enough for prompts of this length
ALIAS = "text-embedding-3-small"  # Arriero's second name for EMBED
SWAPS = ["swap-a", "swap-b", "swap-c"]
LAB_OLLAMA = "lab-llama:latest"
LAB_VLLM = "lab-vllm"


def free_port():
    """A loopback port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def get(url, timeout=5):
    """Status and body of a plain GET; an error status is an answer too, status 0 means no connection."""
    return request("GET", url, timeout=timeout)


def request(method, url, body=None, timeout=5):
    """Status and body of a bare HTTP request without any client library."""
    data = None if body is None else json.dumps(body).encode()
    call = urllib.request.Request(url, data=data, method=method, headers={"content-type": "application/json"})
    try:
        with urllib.request.urlopen(call, timeout=timeout) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except OSError:
        return 0, b""


def wait_until(condition, seconds, what, every=0.02):
    """Seconds until `condition()` held; raises when it does not within the bound."""
    begin = time.monotonic()
    while not condition():
        if time.monotonic() - begin > seconds:
            raise AssertionError(f"{what}: not within {seconds} s")
        time.sleep(every)
    return time.monotonic() - begin


def bound_log():
    """In the child: a program that floods its log ends, instead of filling the disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (LOG_BYTES, LOG_BYTES))


class NotStarted(Exception):
    """A program ended before it was ready."""


class Process:
    """One started program and the address that it serves."""

    def __init__(self, name, port, command, logs):
        self.name = name
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.log = logs / f"{name}.log"
        self.begin = time.monotonic()
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, preexec_fn=bound_log)

    def ready(self, path):
        """Waits until `path` answers 200; raises early when the program ends."""

        def answers():
            if self.process.poll() is not None:
                raise NotStarted(f"{self.name} ended with code {self.process.returncode}:\n{self.tail()}")
            return get(self.url + path)[0] == 200

        wait_until(answers, START_SECONDS, f"{self.name} ready at {path}")
        print(f"  {self.name:<12} {self.url}  ready after {(time.monotonic() - self.begin) * 1000:.0f} ms", flush=True)
        return self

    def tail(self, lines=15):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def notify(self, number):
        self.process.send_signal(number)

    def stop(self, number=signal.SIGTERM, seconds=5):
        """Ends the program, then whatever is left of its process group."""
        if self.process.poll() is None:
            self.process.send_signal(number)
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                pass
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()


class Herd:
    """All processes of a run. `arriero` is None when the engines are driven directly."""

    def __init__(self, binary, chroot, js, logs):
        self.binary = binary
        self.chroot = Path(chroot)
        self.js = Path(js)
        self.logs = Path(logs)
        self.logs.mkdir(parents=True, exist_ok=True)
        self.started = []
        self.arriero = None
        self.lab_ollama = None
        self.lab_vllm = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in reversed(self.started):
            process.stop()

    def start(self, name, port, command, path):
        process = Process(name, port, [str(part) for part in command], self.logs)
        self.started.append(process)
        return process.ready(path)

    def llama(self, name, *options):
        """A llama.cpp server inside the chroot, with one compute thread and no web page."""
        port = free_port()
        fixed = ["--host", "127.0.0.1", "--port", port, "-t", 1, "--offline", "--no-ui", "--metrics", "--slots"]
        return self.start(name, port, ["chroot", self.chroot, SERVER, *fixed, *options], "/health")

    def start_engines(self):
        chat = ["-m", "/models/tiny-chat.gguf", "--alias", CHAT, "-c", 16384, "-np", 2, "--no-kv-unified"]
        self.chat = [self.llama("chat-1", *chat), self.llama("chat-2", *chat)]
        embed = ["--alias", EMBED, "-c", 2048, "-np", 2, "--embeddings", "--pooling", "mean"]
        self.embed = self.llama("embed", "-m", "/models/tiny-embed.gguf", *embed)
        long = ["--alias", LONG_CONTEXT, "-c", CONTEXT, "-np", 1]
        self.long = self.llama("long", "-m", "/models/tiny-long.gguf", *long)
        self.router = self.llama("router", "--models-dir", "/models/swap", "--models-max", 2, "-c", 4096, "-np", 2)

    def start_arriero(self):
        """Lab engines, then Arriero with one mixed pool: it has to find out by itself what each endpoint is."""
        self.lab_ollama = self.lab("ollama", LAB_OLLAMA, "/api/version")
        self.lab_vllm = self.lab("vllm", LAB_VLLM, "/v1/models")
        endpoints = [*self.chat, self.embed, self.long, self.router, self.lab_ollama, self.lab_vllm]
        port = free_port()
        config = self.logs / "arriero.yaml"
        self.admin = f"http://127.0.0.1:{free_port()}"
        lines = [f"listen: 127.0.0.1:{port}", f"admin: {{ bind: \"{self.admin[7:]}\" }}"]
        lines += ["pools:", "  herd:", "    endpoints:"]
        lines += [f'      - {{ url: "{engine.url}", engine: auto }}' for engine in endpoints]
        lines += ["routes:", f"  - {{ pool: herd, aliases: {{ {ALIAS}: {EMBED} }} }}"]
        config.write_text("\n".join(lines) + "\n")
        self.arriero = self.start("arriero", port, [self.binary, "run", "-c", config], "/ready")
        wanted = {CHAT, EMBED, LONG_CONTEXT, *SWAPS, LAB_OLLAMA, LAB_VLLM}
        took = wait_until(lambda: wanted <= self.listed(), START_SECONDS, f"a model list with {sorted(wanted)}")
        print(f"  all models listed after another {took * 1000:.0f} ms", flush=True)

    def lab(self, flavour, model, path):
        port = free_port()
        where = ["--listen", f"127.0.0.1:{port}", "--model", model]
        return self.start(f"lab-{flavour}", port, [self.binary, "lab", "--flavour", flavour, *where], path)

    def listed(self):
        """Model names that Arriero lists at the moment."""
        status, body = get(self.arriero.url + "/v1/models")
        return {model["id"] for model in json.loads(body)["data"]} if status == 200 else set()

    def url_for(self, model):
        """Where a client sends its requests for this model."""
        if self.arriero:
            return self.arriero.url
        engines = {CHAT: self.chat[0], EMBED: self.embed, LONG_CONTEXT: self.long}
        return engines.get(model, self.router).url
