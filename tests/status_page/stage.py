"""What the page is shown: two simulated engines and the proxy before them, with names that a careless page would run.

Processes are started and ended here, by their own handle. Addresses are on loopback, ports are free ones.
"""

import contextlib
import http.server
import json
import os
import pathlib
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request

NASTY_MODEL = "<img src=x onerror=\"document.title='owned'\">:1b"
TOKEN = "a-token-that-only-the-tests-know"
BIN = os.environ["ARRIERO_BIN"]


def free_port():
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ask(url, method="GET", body=None, token=None, seconds=10):
    """Status and decoded JSON."""
    headers = {"content-type": "application/json"}
    if token:
        headers["authorization"] = f"Bearer {token}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=seconds) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"null")


def until(what, condition, seconds=20):
    """Waits for a condition; what it returned."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError):
            found = condition()
            if found:
                return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.05)


class Held:
    """An engine that answers no request before `go` is set; it says that it has one model."""

    def __init__(self, model):
        self.go, self.answered = threading.Event(), 0
        held = self

        class Answers(http.server.BaseHTTPRequestHandler):
            """Lists the model; answers a chat once it may."""

            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def say(self, body):
                data = json.dumps(body).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def do_GET(self):
                self.say({"object": "list", "data": [{"id": model, "object": "model"}]})

            def do_POST(self):
                self.rfile.read(int(self.headers["content-length"]))
                held.go.wait(60)
                held.answered += 1
                message = {"role": "assistant", "content": "There."}
                usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
                self.say({"object": "chat.completion", "choices": [{"index": 0, "message": message}], "usage": usage})

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        """Lets everybody go and ends."""
        self.go.set()
        self.server.shutdown()
        self.server.server_close()


class Stage:
    """Two engines and two proxies; ended with the `with` block."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.started = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.started:
            self.end(process)

    def end(self, process):
        """Ends one of our processes."""
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def start(self, name, *arguments):
        """Starts the binary; its output goes to a file of this name."""
        with open(self.folder / f"{name}.log", "w", encoding="utf-8") as log:
            process = subprocess.Popen([BIN, *arguments], stdout=log, stderr=subprocess.STDOUT)
        self.started.append(process)
        return process

    def engine(self, model):
        """A simulated engine's URL."""
        port = free_port()
        self.start(f"engine-{port}", "lab", "--listen", f"127.0.0.1:{port}", "--model", model)
        url = f"http://127.0.0.1:{port}"
        until("an engine answers", lambda: ask(f"{url}/api/tags")[0] == 200)
        return url

    def proxy(self, engines, token=None):
        """A proxy over these engines: its process, its URL and that of its admin listener."""
        access = {}
        if token:
            file = self.folder / "token"
            file.write_text(token + "\n", encoding="utf-8")
            file.chmod(0o600)
            access["token_file"] = str(file)
        first, second = engines
        plan = {
            "pools": {
                "chat": {"endpoints": [{"url": first, "name": "gpu-1", "max_in_flight": 4}]},
                "embed": {"endpoints": [{"url": second, "name": "cpu-1"}]},
            },
            "routes": [
                {"match": {"model": "<img*"}, "pool": "embed", "balance": "least-connection"},
                {"name": "chat", "pool": "chat", "balance": "auto"},
            ],
        }
        return self.run(plan, access)

    def one_slot(self, engine):
        """A proxy with one pool `one` of one endpoint `slot` that takes one request at a time."""
        endpoint = {"url": engine, "name": "slot", "engine": "openai", "max_in_flight": 1}
        return self.run({"pools": {"one": {"endpoints": [endpoint]}}, "routes": [{"name": "one", "pool": "one"}]}, {})

    def run(self, plan, access):
        """A proxy with this plan: its process, its URL and that of its admin listener."""
        port, admin = free_port(), free_port()
        plan |= {"listen": f"127.0.0.1:{port}", "admin": {"bind": f"127.0.0.1:{admin}"} | access}
        file = self.folder / f"arriero-{port}.yaml"
        file.write_text(json.dumps(plan), encoding="utf-8")  # JSON is YAML, too
        process = self.start(f"arriero-{port}", "run", "-c", str(file))
        url = f"http://127.0.0.1:{port}"

        def ready():
            assert process.poll() is None, f"arriero has ended: {file.with_suffix('.log')}"
            return ask(f"{url}/ready")[0] == 200

        until("the proxy is ready", ready)
        return process, url, f"http://127.0.0.1:{admin}"
