"""A small real server that speaks SandboxFusion's protocol and runs the scripts in a `LocalSandbox`."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler

from trl_gift.sandbox import CallTests, Case, Limits, LocalSandbox, Status, StdioTests

CALLS = CallTests("add", [Case(args=(1, 2), expected=3), Case(args=([1], [2]), expected=[1, 2])])
STDIO = StdioTests([Case(stdin="1 2\n", stdout="3\n"), Case(stdin="3 4\n", stdout="7\n")])


class Handler(BaseHTTPRequestHandler):
    """`POST /run_code`, answered as SandboxFusion does; the script itself runs confined."""

    sandbox: LocalSandbox
    requests: list[dict]
    trouble: list[object]

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.requests.append({**request, "path": self.path, "token": self.headers.get("Authorization")})
        if self.trouble:
            trouble = self.trouble.pop(0)
            if trouble == "drop":
                self.close_connection = True
                return
            self.reply(*trouble)
            return
        limits = Limits(cpu_s=min(1.0, request["run_timeout"]), wall_s=request["run_timeout"], memory_mb=512)
        tests = StdioTests([Case(stdin=request["stdin"], stdout="\0")], compare="exact")
        outcome = self.sandbox.run(request["code"], tests, limits=limits)
        timeout = outcome.status is Status.TIMEOUT
        ran = {
            "status": "TimeLimitExceeded" if timeout else "Finished",
            "execution_time": outcome.wall_s,
            "return_code": None if timeout else int(outcome.status is not Status.FAILED),
            "stdout": outcome.stdout_tail,
            "stderr": "" if outcome.status is Status.FAILED else f"Traceback ...\n{outcome.message}",
        }
        good = ran["return_code"] == 0
        self.reply(
            200, {"status": "Success" if good else "Failed", "message": "", "compile_result": None, "run_result": ran}
        )

    def reply(self, code: int, body: object) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass
