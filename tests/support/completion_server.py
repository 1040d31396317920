"""A small real completion server over a tiny transformers model, in vLLM's dialect, with switches to misbehave.

As a process: `python -m tests.support.completion_server --port 8000 --model FOLDER`. As a thread: `serve(...)`. Its
samples are those of the reference engine for the same seed, so that the engines' suite holds through it word by word.
Without `--model` it is a stub that needs no torch: every completion is one token.

As a process it has the faults of a real vLLM where its options and environment do not avoid them: a request with more than
`VLLM_MAX_STOP_STRINGS` (4) stop texts is refused, `--max-model-len` cuts completions without a word, and with
`--enable-lora` but without `--lora-target-modules` two scoring requests at once end it.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class Switches:
    """How it misbehaves."""

    fail_first: int = 0  # so many completions get a 503
    abort_first: int = 0  # so many completions are broken off
    refuse: str = ""  # every completion gets a 400 with these words
    die_after: int = -1  # exits after so many completions, unless the marker file exists
    die_marker: str = ""
    hang_after: int = -1  # stops answering completions after so many, unless the marker file exists
    adapters: bool = True
    token_ids: bool = True
    scoring: str = "prompt_logprobs echo"
    processed_logprobs: bool = False
    api_key: str = ""
    most_stops: int = 0  # a request with more stop texts gets a 400; 0 for any number
    context: int = 0  # prompt and completion have at most so many tokens; 0 for any number
    dies_of_scoring: bool = False  # two scoring requests at once end the engine
    form: str = (
        "vllm"  # "llama.cpp": its log-probabilities and its card; "transformers", "llama-cpp-python": only the card
    )
    chaos: bool = False  # every other completion goes wrong, each time in another way


@dataclass
class Backend:
    """What answers: a model behind a lock, or nothing but a fixed token."""

    model: object = None
    tokenizer: object = None
    switches: Switches = field(default_factory=Switches)
    adapters: dict[str, object] = field(default_factory=dict)
    requests: list[dict] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    scoring_at_once: int = 0
    dead: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)
    counting: threading.Lock = field(default_factory=threading.Lock)

    def load_adapter(self, name, path):
        if name in self.adapters:
            return 400, {"error": {"message": f"The lora adapter '{name}' has already been loaded."}}
        if not (Path(path) / "adapter_config.json").exists():
            return 404, {"error": {"message": f"No adapter found for {path}"}}
        if self.model is None:
            self.adapters[name] = None
            return 200, None
        from peft import PeftModel

        with self.lock:
            import copy

            self.adapters[name] = PeftModel.from_pretrained(copy.deepcopy(self.model), path)
        return 200, None

    def complete(self, body):
        if self.model is None:
            choices = [
                {"text": "x", "finish_reason": "stop", "token_ids": [5], "logprobs": {"token_logprobs": [-1.0]}}
            ]
            if body.get("prompt_logprobs") is not None:
                choices[0]["prompt_logprobs"] = [{str(token): {"logprob": -1.0}} for token in body["prompt"]]
            return {"choices": choices}
        model = self.adapters.get(body["model"], self.model)
        with self.lock:
            return {"choices": [self._choice(model, body, index) for index in range(body.get("n", 1))]}

    def _choice(self, model, body, index):
        from trl_gift.generation import GenerateEngine, GenerationRequest, SamplingParams

        engine = GenerateEngine(model, self.tokenizer, batch_size=1)
        prompt = tuple(body["prompt"])
        longest = body["max_tokens"]
        if self.switches.context:
            longest = min(longest, self.switches.context - len(prompt))
        params = SamplingParams(
            longest,
            body.get("temperature", 1.0),
            body.get("top_p", 1.0),
            max(body.get("top_k", -1), 0),
            tuple(body.get("stop", ())),
        )
        engine.submit(GenerationRequest(0, prompt, params, (body.get("seed", 0) + index,)))
        (result,) = engine.step()
        (completion,) = result.completions
        stopped = next((s for s in params.stop if completion.finish_reason == "stop"), None)
        logprobs = list(completion.logprobs)
        top = [{"x": value} for value in logprobs]
        if body.get("max_tokens") == 1:
            top = [{"x": self._likeliest(model, prompt, 1.0)}]
        if self.switches.processed_logprobs and params.temperature not in (0.0, 1.0):
            logprobs = [value / params.temperature for value in logprobs]
            top = [{"x": self._likeliest(model, prompt, params.temperature)}]
        if self.switches.form == "llama.cpp":
            return self._as_llama_cpp(completion, logprobs, top, stopped)
        choice = {
            "index": index,
            "text": completion.text,
            "finish_reason": "length" if completion.finish_reason == "length" else "stop",
            "stop_reason": stopped,
            "logprobs": {"token_logprobs": logprobs, "top_logprobs": top, "tokens": ["?"] * len(logprobs)},
        }
        if body.get("return_token_ids") and self.switches.token_ids:
            choice["token_ids"] = list(completion.token_ids)
        if body.get("echo") or body.get("prompt_logprobs") is not None:
            own = [None, *engine.score([(prompt[:1], prompt[1:])])[0]]
            if body.get("echo") and "echo" in self.switches.scoring:
                choice["logprobs"]["token_logprobs"] = own + logprobs
            if body.get("prompt_logprobs") is not None and "prompt_logprobs" in self.switches.scoring:
                named = zip(prompt, own, strict=True)
                choice["prompt_logprobs"] = [None if v is None else {str(t): {"logprob": v}} for t, v in named]
        return choice

    def _as_llama_cpp(self, completion, logprobs, top, stopped):
        """Ids in place of names, no reason for the end, and none of the tokens that a stop text cut off."""
        ids = completion.token_ids
        if stopped:
            counts = range(len(ids), -1, -1)
            ids = next(ids[:n] for n in counts if completion.text.startswith(self.tokenizer.decode(ids[:n])))
        content = [
            {
                "id": token,
                "logprob": value,
                "top_logprobs": [{"id": 0, "logprob": max(top[min(place, len(top) - 1)].values())}],
            }
            for place, (token, value) in enumerate(zip(ids, logprobs, strict=False))
        ]
        reason = "length" if completion.finish_reason == "length" else "stop"
        return {"index": 0, "text": completion.text, "finish_reason": reason, "logprobs": {"content": content}}

    def _likeliest(self, model, prompt, temperature):
        import torch

        with torch.no_grad():
            logits = model(input_ids=torch.tensor([prompt])).logits[0, -1]
        return float((logits / temperature).log_softmax(-1).max())


class Handler(BaseHTTPRequestHandler):
    backend: Backend

    def log_message(self, *args):
        pass

    def do_GET(self):
        if self.path == "/health":
            self.answer(200, None)
        elif self.path == "/v1/models":
            self.answer(200, {"data": [self.card(name) for name in ["tiny", *self.backend.adapters]]})
        elif self.path == "/openapi.json" and self.backend.switches.form == "transformers":
            self.answer(200, {"paths": {"/v1/completions": {}, "/load_model": {}, "/reset": {}}})
        else:
            self.answer(404, {"error": {"message": "Not Found"}})

    def card(self, name):
        switches = self.backend.switches
        match switches.form:
            case "llama.cpp":
                return {"id": name, "owned_by": "llamacpp", "meta": {"n_ctx": switches.context, "n_ctx_train": 8192}}
            case "llama-cpp-python":
                return {"id": name, "owned_by": "me", "permissions": []}
            case "transformers":
                return {"id": name, "owned_by": "HuggingFaceTB"}
        return {"id": name, "owned_by": "vllm", "max_model_len": switches.context or None}

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        backend, switches = self.backend, self.backend.switches
        if switches.api_key and self.headers.get("Authorization") != f"Bearer {switches.api_key}":
            return self.answer(401, {"error": {"message": "Unauthorized"}})
        if self.path == "/v1/load_lora_adapter" and switches.adapters:
            return self.answer(*backend.load_adapter(body["lora_name"], body["lora_path"]))
        if self.path != "/v1/completions":
            return self.answer(404, {"detail": "Not Found"})
        with backend.counting:
            backend.requests.append(body)
            count = len(backend.requests)
            backend.at_once += 1
            backend.most_at_once = max(backend.most_at_once, backend.at_once)
        answer = self.complete(body, count)
        with backend.counting:
            backend.at_once -= 1
        return self.answer(*answer)

    def complete(self, body, count):
        backend, switches = self.backend, self.backend.switches
        marked = bool(switches.die_marker) and Path(switches.die_marker).exists()
        if 0 <= switches.die_after < count and not marked:
            if switches.die_marker:
                Path(switches.die_marker).touch()
            os._exit(9)
        if 0 <= switches.hang_after < count and not marked:
            if switches.die_marker:
                Path(switches.die_marker).touch()
            time.sleep(3600)
        if backend.dead:
            return 500, {
                "error": {"message": "EngineCore encountered an issue. See stack trace (above) for the root cause."}
            }
        if switches.most_stops and len(body.get("stop") or ()) > switches.most_stops:
            words = f"List should have at most {switches.most_stops} items after validation, not {len(body['stop'])}"
            return 400, {"error": {"message": words}}
        if switches.context and len(body["prompt"]) >= switches.context:
            words = f"This model's maximum context length is {switches.context} tokens."
            return 400, {"error": {"message": words}}
        if switches.dies_of_scoring and body.get("prompt_logprobs") is not None:
            return self.score_until_dead(body)
        if switches.chaos and count % 2:
            return self.misbehave(count)
        if count <= switches.fail_first:
            return 503, {"error": {"message": "overloaded"}}
        if switches.refuse:
            return 400, {"error": {"message": switches.refuse}}
        if body["model"] != "tiny" and body["model"] not in backend.adapters:
            return 404, {"error": {"message": f"The model `{body['model']}` does not exist."}}
        content = backend.complete(body)
        if count <= switches.abort_first:
            content["choices"][0]["finish_reason"] = "abort"
        return 200, content

    def score_until_dead(self, body):
        backend = self.backend
        with backend.counting:
            backend.scoring_at_once += 1
            backend.dead = backend.dead or backend.scoring_at_once > 1
        # Long enough for another one to come in.
        time.sleep(0.2)
        with backend.counting:
            backend.scoring_at_once -= 1
        return (500, {"error": {"message": "EngineDeadError"}}) if backend.dead else (200, backend.complete(body))

    def misbehave(self, count):
        """An answer that is none; the last way is to hang up without a word."""
        ways = [
            (503, {"error": {"message": "overloaded"}}),
            (429, {"error": {"message": "slow down"}}),
            (500, {"detail": "EngineDeadError"}),
            (200, {"choices": []}),
            (200, {"choices": [{"text": "half", "finish_reason": "abort", "token_ids": [5]}]}),
            (200, "<html>a proxy</html>"),
        ]
        way = count // 2 % (len(ways) + 1)
        if way < len(ways):
            return ways[way]
        self.connection.shutdown(socket.SHUT_RDWR)
        return 0, None

    def answer(self, status, content):
        if status == 0:
            return
        payload = b"" if content is None else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request, client_address):
        """A client that broke off is no news."""


@contextmanager
def serve(model=None, tokenizer=None, port=0, **switches):
    """A server in a thread of this process; yields its address and its backend."""
    backend = Backend(model, tokenizer, Switches(**switches))
    server = Server(("127.0.0.1", port), type("BoundHandler", (Handler,), {"backend": backend}))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", backend
    finally:
        server.shutdown()
        server.server_close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", default="")
    parser.add_argument("--ready-after", type=float, default=0.0)
    parser.add_argument("--children", default="", help="starts two processes, one in a session of its own; their pids")
    parser.add_argument("--die-after", type=int, default=-1)
    parser.add_argument("--die-marker", default="")
    parser.add_argument("--hang-after", type=int, default=-1)
    parser.add_argument("--enable-lora", action="store_true")
    parser.add_argument("--lora-target-modules", nargs="+", default=[])
    parser.add_argument("--max-model-len", type=int, default=0)
    options, _ = parser.parse_known_args()
    switches = Switches(
        die_after=options.die_after,
        die_marker=options.die_marker,
        hang_after=options.hang_after,
        most_stops=int(os.environ.get("VLLM_MAX_STOP_STRINGS", "4")),
        context=options.max_model_len,
        dies_of_scoring=options.enable_lora and not options.lora_target_modules,
    )
    print("starting", flush=True)
    if options.children:
        stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
        pids = [
            subprocess.Popen([sys.executable, "-c", stubborn], start_new_session=apart).pid for apart in (False, True)
        ]
        Path(options.children).write_text(json.dumps([os.getpid(), *pids]))
    time.sleep(options.ready_after)
    model = tokenizer = None
    if options.model:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        torch.set_num_threads(1)
        model = AutoModelForCausalLM.from_pretrained(options.model).eval()
        tokenizer = AutoTokenizer.from_pretrained(options.model)
    backend = Backend(model, tokenizer, switches)
    handler = type("BoundHandler", (Handler,), {"backend": backend})
    Server(("127.0.0.1", options.port), handler).serve_forever()


if __name__ == "__main__":
    main()
