"""A small real server of OpenAI's chat protocol with a scripted teacher, and with switches to misbehave.

The teacher knows the right programs of some tasks, and gives them for a share of the requests: for whether it can, only the text
of the question decides. As a process: `python -m tests.support.chat_server LOG [switch=value ...]`; its address is the first line
that it prints, and LOG gets one line for each answer that it has sent whole.
"""

from __future__ import annotations

import ast
import hashlib
import json
import socket
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY = "sk-a-secret-that-nobody-may-see"


@dataclass
class Script:
    """What the teacher knows, and how the server misbehaves."""

    programs: dict[str, str] = field(default_factory=dict)  # right programs by the descriptions of their tasks
    share: float = 1.0  # of the questions that are answered with a right program
    wrong: str = "def solve(*values):\n    return 'wrong'"
    key: str = KEY
    faults: tuple[str, ...] = ()  # the first requests end so: "429", "500", "cut", "page", "empty", "400", "401"
    pause: float = 0.0  # seconds before an answer
    stop_after: int = -1  # no answer any more after so many
    usage: bool = True
    thinks: bool = False

    def answer(self, question):
        code = next((code for description, code in self.programs.items() if description in question), None)
        draw = int.from_bytes(hashlib.blake2b(question.encode(), digest_size=4).digest(), "big") / 2**32
        text = f"```python\n{code if code is not None and draw < self.share else self.wrong}\n```"
        return f"<think>\n```python\nprint(1)\n```\n</think>\n{text}" if self.thinks else f"Here it is:\n{text}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *args):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server, script = self.server, self.server.script
        with server.lock:
            server.asked.append(body)
            count = len(server.asked)
            server.at_once += 1
            server.most_at_once = max(server.most_at_once, server.at_once)
        try:
            self.respond(body, count, server, script)
        finally:
            with server.lock:
                server.at_once -= 1

    def respond(self, body, count, server, script):
        given = self.headers.get("Authorization", "")
        if script.key and given != f"Bearer {script.key}":
            return self.send(
                401, {"error": {"message": f"Incorrect API key provided: {given.removeprefix('Bearer ')}"}}
            )
        if self.path != "/v1/chat/completions":
            return self.send(404, {"error": {"message": "not here"}})
        fault = script.faults[count - 1] if count <= len(script.faults) else ""
        match fault:
            case "429":
                return self.send(429, {"error": {"message": "slow down"}}, {"retry-after-ms": "5"})
            case "500":
                return self.send(500, {"error": {"message": "overloaded"}}, {"retry-after-ms": "5"})
            case "400" | "401":
                return self.send(int(fault), {"error": {"message": f"no, {given}"}})
            case "page":
                return self.send(200, "<html>a proxy</html>", {"Content-Type": "text/html"})
            case "empty":
                return self.send(
                    200, {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": []}
                )
            case "cut":
                self.send_response(200)
                self.send_header("Content-Length", "1000")
                self.end_headers()
                self.wfile.write(b'{"choices": [{"mes')
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_RDWR)
                return None
        if 0 <= script.stop_after <= len(server.sent):
            server.silent.set()
            server.stopping.wait()
            return None
        time.sleep(script.pause)
        text = script.answer(body["messages"][-1]["content"])
        content = {
            "id": "x", "object": "chat.completion", "created": 1, "model": body["model"],
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
        }  # fmt: skip
        if script.usage:
            size = len(body["messages"][-1]["content"]) // 4
            content["usage"] = {"prompt_tokens": size, "completion_tokens": 20, "total_tokens": size + 20}
        with server.lock:
            server.sent.append(body)
            if server.log:
                with open(server.log, "a") as file:
                    file.write(json.dumps(body) + "\n")
        return self.send(200, content)

    def send(self, status, content, headers=None):
        payload = content.encode() if isinstance(content, str) else json.dumps(content).encode()
        self.send_response(status)
        headers = {"Content-Type": "application/json", **(headers or {})}
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, script, log=""):
        super().__init__(("127.0.0.1", 0), Handler)
        self.script, self.log = script, log
        self.asked, self.sent = [], []
        self.lock = threading.Lock()
        self.at_once = self.most_at_once = 0
        self.silent, self.stopping = threading.Event(), threading.Event()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, request, client_address):
        """A client that broke off is no news."""


@contextmanager
def serve(log="", **switches):
    """A server in a thread of this process."""
    server = Server(Script(**switches), log)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield server
    finally:
        server.stopping.set()
        server.shutdown()
        server.server_close()


if __name__ == "__main__":
    with serve(
        sys.argv[1], **{name: ast.literal_eval(value) for name, _, value in (a.partition("=") for a in sys.argv[2:])}
    ) as running:
        print(running.url, flush=True)
        running.stopping.wait()
