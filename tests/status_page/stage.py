"""What the page is shown: two simulated engines and the proxy before them, with names that a careless page would run.

Processes are started and ended here, by their own handle. Addresses are on loopback, ports are free ones.
"""

import contextlib
import json
import os
import pathlib
import socket
import subprocess
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


def ask(url, method="GET", body=None, token=None):
    """Status and decoded JSON."""
    headers = {"content-type": "application/json"}
    if token:
        headers["authorization"] = f"Bearer {token}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
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
        port, admin = free_port(), free_port()
        access = {"bind": f"127.0.0.1:{admin}"}
        if token:
            file = self.folder / "token"
            file.write_text(token + "\n", encoding="utf-8")
            file.chmod(0o600)
            access["token_file"] = str(file)
        first, second = engines
        plan = {
            "listen": f"127.0.0.1:{port}",
            "admin": access,
            "pools": {
                "chat": {"endpoints": [{"url": first, "name": "gpu-1", "max_in_flight": 4}]},
                "embed": {"endpoints": [{"url": second, "name": "cpu-1"}]},
            },
            "routes": [
                {"match": {"model": "<img*"}, "pool": "embed", "balance": "least-connection"},
                {"name": "chat", "pool": "chat", "balance": "auto"},
            ],
        }
        file = self.folder / f"arriero-{port}.yaml"
        file.write_text(json.dumps(plan), encoding="utf-8")  # JSON is YAML, too
        process = self.start(f"arriero-{port}", "run", "-c", str(file))
        url = f"http://127.0.0.1:{port}"

        def ready():
            assert process.poll() is None, f"arriero has ended: {file.with_suffix('.log')}"
            return ask(f"{url}/ready")[0] == 200

        until("the proxy is ready", ready)
        return process, url, f"http://127.0.0.1:{admin}"
