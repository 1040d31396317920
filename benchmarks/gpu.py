"""What one machine with a GPU does, in one command and without a network: engines, a 4-bit LoRA round, sandbox, a run.

    python benchmarks/gpu.py --out gpu                       # random weights in the shape of a model of 7B parameters
    python benchmarks/gpu.py --out gpu --model FOLDER        # a model of your own
    python benchmarks/gpu.py --out gpu --shape tiny --cpu    # does every part work? minutes on a CPU

Parts, each in a process of its own with at most `--minutes` (8):

    engines     `generate` in batches, `compact`, and a vLLM server where `--vllm` names its command, on the same prompts:
                tokens per second and per CPU second, peak memory, and the share of the rate of a batch that is always
                full; on a CPU also with LoRA, beside the weights and in them
    lora        one round of 4-bit (nf4) LoRA: seconds and peak memory of sampling and of training, beside the estimate
    sandbox     `benchmarks/sandbox.py` on this machine
    run         the quickstart: the embedded model learns from its own programs

A part that is done is not run again, so the command can be repeated. With random weights no completion ends before its
limit, and no two are alike: the least favourable case for `compact`. Random weights are written to `--out` once (15 GB for
7B parameters). With `--json` the last line is one JSON object with the figures of every part.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from sampling import ceiling_rate, cpu_seconds, memory_peak
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen2Config

from trl_gift.generation.server import CompletionClient
from trl_gift.generation.server.engine import ServerEngine
from trl_gift.generation.server.process import ManagedServer
from trl_gift.generation.server.vllm import MOST_STOP_TEXTS, OPTIONS, VllmSettings
from trl_gift.playground import model_path, playground_tasks

PARTS = ("engines", "lora", "sandbox", "run")
GIB = 2**30
# The published shapes of Qwen2.5-Coder; `tiny` only shows that the parts work.
SHAPES = {
    "7b": {"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28,
           "num_key_value_heads": 4, "vocab_size": 152064},
    "1.5b": {"hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28, "num_attention_heads": 12,
             "num_key_value_heads": 2, "vocab_size": 151936, "tie_word_embeddings": True},
    "tiny": {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4,
             "num_key_value_heads": 2, "vocab_size": 1024},
}  # fmt: skip


def main() -> None:
    options = arguments()
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    if options.part:
        found = {"engines": engines, "lora": lora, "sandbox": sandbox, "run": quickstart}[options.part](options, out)
        whole(out / f"{options.part}.json", found)
        return
    figures: dict[str, Any] = {"device": device_name(options)}
    print(figures["device"], flush=True)
    if not options.model and {"engines", "lora"} & set(options.parts):
        random_weights(options, out)
    for part in options.parts:
        path = out / f"{part}.json"
        if not path.exists():
            run_part(part, options, out)
        figures[part] = json.loads(path.read_text()) if path.exists() else None
        print(f"\n{part}\n{table(figures[part], out / f'{part}.log')}", flush=True)
    if options.json:
        print(json.dumps(figures))
    if any(figures[part] is None for part in options.parts):
        sys.exit("a part did not end; run the command again to repeat it")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True, help="folder of the results; what is done there is not run again")
    parser.add_argument("--model", help="a model's folder; random weights if not given")
    parser.add_argument("--shape", choices=SHAPES, default="7b", help="the shape of random weights")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--prompts", type=int, default=64, help="prompts of the engines' part, 4 completions each")
    parser.add_argument("--tokens", type=int, default=128, help="tokens of a completion")
    parser.add_argument("--generate-sizes", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--vllm", help="the command that starts a vLLM server, such as 'vllm serve'")
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) - 1), help="of the sandbox")
    parser.add_argument("--minutes", type=float, default=8, help="the most that one part may take")
    parser.add_argument("--threads", type=int, default=1, help="of the model on a CPU")
    parser.add_argument("--cpu", action="store_true", default=not torch.cuda.is_available())
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    return parser.parse_args()


def run_part(part: str, options: argparse.Namespace, out: Path) -> None:
    """Runs one part in a process of its own; its output goes to a log."""
    with (out / f"{part}.log").open("w") as log:
        command = [sys.executable, __file__, *sys.argv[1:], "--part", part]
        try:
            subprocess.run(command, stdout=log, stderr=log, timeout=60 * options.minutes, check=False)
        except subprocess.TimeoutExpired:
            print(f"ended after {options.minutes:g} minutes", file=log)


def whole(path: Path, content: dict[str, Any]) -> None:
    """Writes a file whole or not at all."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps(content, indent=1))
    new.replace(path)


def table(figures: dict[str, Any] | None, log: Path) -> str:
    if figures is None:
        lines = log.read_text().strip().splitlines()
        return f"  did not end: {lines[-1] if lines else 'no output'} ({log})"
    return "\n".join(rows(figures, "  "))


def rows(figures: dict[str, Any], indent: str) -> Iterator[str]:
    for name, value in figures.items():
        if isinstance(value, dict) and not any(isinstance(item, dict) for item in value.values()):
            yield f"{indent}{name:<24} " + ", ".join(f"{key} {number(item)}" for key, item in value.items())
        elif isinstance(value, dict):
            yield f"{indent}{name}"
            yield from rows(value, f"{indent}  ")
        else:
            yield f"{indent}{name:<24} {number(value)}"


def number(value: Any) -> str:
    """A number with four significant digits, or with all digits of its whole part."""
    return (
        f"{value:,.4g}"
        if isinstance(value, float) and abs(value) < 1000
        else (f"{value:,.0f}" if isinstance(value, float) else str(value))
    )


def device_name(options: argparse.Namespace) -> str:
    kind = "CPU" if options.cpu else torch.cuda.get_device_name()
    return f"{kind}, torch {torch.__version__}, {os.cpu_count()} cores"


def random_weights(options: argparse.Namespace, out: Path) -> Path:
    """A model of the given shape with random weights and the embedded model's tokenizer, in bfloat16."""
    folder = out / f"random-{options.shape}"
    if not (folder / "done").exists():
        tokenizer = AutoTokenizer.from_pretrained(model_path())
        config = Qwen2Config(
            **SHAPES[options.shape], max_position_embeddings=4096, bos_token_id=None, eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )  # fmt: skip
        torch.manual_seed(0)
        with torch.device("cpu" if options.cpu else "cuda"):
            model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        (folder / "done").touch()
    return folder


def model_folder(options: argparse.Namespace, out: Path) -> str:
    return options.model or str(random_weights(options, out))


class Peak:
    """Peak memory in GiB since the last look: of the device, or of this process on a CPU."""

    def __init__(self, cpu: bool) -> None:
        self._cpu = cpu

    def look(self) -> float:
        """The peak until now; the next look begins here."""
        if self._cpu:
            return memory_peak() / GIB
        torch.cuda.synchronize()
        peak = torch.cuda.max_memory_allocated() / GIB
        torch.cuda.reset_peak_memory_stats()
        return peak


def engines(options: argparse.Namespace, out: Path) -> dict[str, Any]:
    """Tokens per second of every engine on the same prompts."""
    from peft import LoraConfig, get_peft_model

    from trl_gift.generation import GenerateEngine, merged_adapter
    from trl_gift.generation.compact import DEFAULT_ROWS, CompactEngine
    from trl_gift.prompts import BasePrompts

    torch.set_num_threads(options.threads)
    folder = model_folder(options, out)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tasks = playground_tasks("train", options.prompts)
    prompts = [BasePrompts(tokenizer).write(task, task.description).ids for task in tasks]
    peak = Peak(options.cpu)
    found: dict[str, Any] = {"completions": 4 * len(prompts)}
    if options.vllm:  # before the model is loaded, so that the server has the device for itself
        found["vllm"] = served(folder, prompts, tokenizer, options, out)
    dtype = torch.float32 if options.cpu else torch.bfloat16
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).to("cpu" if options.cpu else "cuda").eval()
    found["weights GiB"] = peak.look()
    # The first calls are slow; a model that `compact` cannot decode is refused here.
    drawn(CompactEngine(model, tokenizer), prompts[:2], 8)
    peak.look()
    for size in options.generate_sizes:
        found[f"generate, {size} rows"] = {**drawn(GenerateEngine(model, tokenizer, size), prompts, options.tokens),
                                           "peak GiB": peak.look()}  # fmt: skip
    compact = drawn(CompactEngine(model, tokenizer), prompts, options.tokens)
    found["compact"] = {**compact, "peak GiB": peak.look()}
    unit = "tokens/CPU s" if options.cpu else "tokens/s"
    tops = ceiling_rate(model, min(DEFAULT_ROWS, 4 * len(prompts)), prompts[0], int(compact["tokens"]), options.tokens)
    best = max(found[f"generate, {size} rows"][unit] for size in options.generate_sizes)
    found["ceiling tokens/s"] = tops
    found["ratios"] = {"compact/generate": compact[unit] / best, "compact/ceiling": compact["tokens/s"] / tops}
    if options.vllm:
        found["ratios"]["compact/vllm"] = compact[unit] / found["vllm"][unit]
    if options.cpu:
        adapted = get_peft_model(model, LoraConfig(r=16, target_modules="all-linear")).eval()
        found["compact, LoRA"] = drawn(CompactEngine(adapted, tokenizer), prompts, options.tokens)
        with merged_adapter(adapted):
            found["compact, LoRA merged"] = drawn(CompactEngine(adapted, tokenizer), prompts, options.tokens)
        found["ratios"]["LoRA merged/LoRA"] = found["compact, LoRA merged"][unit] / found["compact, LoRA"][unit]
    return found


def drawn(engine: Any, prompts: list[list[int]], tokens: int) -> dict[str, float]:
    """Four completions of every prompt."""
    from trl_gift.common.randomness import stream_key
    from trl_gift.generation import GenerationRequest, SamplingParams

    before, started, cpu = engine.tokens_generated, time.perf_counter(), cpu_seconds()
    for index, ids in enumerate(prompts):
        keys = tuple(stream_key(0, 1, f"task {index}", 0, each, "code") for each in range(4))
        engine.submit(GenerationRequest(index, tuple(ids), SamplingParams(tokens), keys))
    while engine.pending:
        engine.step()
    seconds = time.perf_counter() - started
    tokens = engine.tokens_generated - before
    return {"tokens/s": tokens / seconds, "tokens/CPU s": tokens / (cpu_seconds() - cpu), "tokens": tokens,
            "seconds": seconds}  # fmt: skip


def served(folder: str, prompts: list, tokenizer: Any, options: argparse.Namespace, out: Path) -> dict[str, float]:
    """The same completions from a vLLM server that is started for them."""
    started = time.perf_counter()
    with vllm_engine(options.vllm, folder, tokenizer, options.cpu, options.minutes, out / "vllm.log") as engine:
        ready = time.perf_counter() - started
        drawn(engine, prompts[:2], 8)
        return {**drawn(engine, prompts, options.tokens), "seconds until ready": ready}


@contextmanager
def vllm_engine(command: str, folder: str, tokenizer, on_cpu: bool, minutes: float, log: Path):
    """Our client of a vLLM server that is started for the block and serves the model of a folder.

    Args:
        command: The command that starts a server, such as `vllm serve`.
        folder: The model.
        tokenizer: Its tokenizer.
        on_cpu: Whether the server is to use the CPU, in float32.
        minutes: The most until it is ready.
        log: Where the server's output goes.
    """
    dtype, context = ("float32", 4096) if on_cpu else ("bfloat16", None)
    options = VllmSettings(dtype, rank=None, target_modules=(), on_cpu=on_cpu, context=context)
    with ManagedServer(
        f"{command} {{model}} {OPTIONS}", log, model=str(Path(folder).resolve()), options=options.options(),
        environment=options.environment(), start_timeout_s=60 * minutes,
    ) as server:  # fmt: skip
        engine = ServerEngine(CompletionClient(server.url), tokenizer, server=server, most_stops=MOST_STOP_TEXTS)
        try:
            yield engine
        finally:
            engine.close()


def lora(options: argparse.Namespace, out: Path) -> dict[str, Any]:
    """One round of 4-bit LoRA; its peaks of memory beside the estimate."""
    from peft import LoraConfig
    from transformers import BitsAndBytesConfig, TrainerCallback

    from trl_gift import GiFTConfig, GiFTTrainer
    from trl_gift.estimate import estimate_run

    peak = Peak(options.cpu)
    peaks: dict[str, float] = {}
    began: dict[str, float] = {}

    class Watch(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            peaks["sampling"], began["training"] = peak.look(), time.perf_counter()

        def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            peaks["training"], began["end"] = peak.look(), time.perf_counter()

    folder = model_folder(options, out)
    config = GiFTConfig(
        str(out / "lora"), num_steps=1, num_generations=4, max_completion_length=2 * options.tokens,
        max_description_length=64, num_train_epochs=1, per_device_train_batch_size=4, gradient_accumulation_steps=1,
        max_length=512, train_on_references=True, use_cpu=options.cpu, bf16=not options.cpu, save_strategy="no",
        report_to="none", logging_steps=1, sandbox_workers=options.workers, prompt_format="base",
    )  # fmt: skip
    nf4 = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16)
    trainer = GiFTTrainer(
        folder, config, playground_tasks("train", options.prompts, with_reference=True), quantization_config=nf4,
        peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear"), callbacks=[Watch()],
    )  # fmt: skip
    estimate = estimate_run(trainer)
    weights = peak.look()
    started = time.perf_counter()
    trainer.train()
    return {
        "parameters": estimate.parameters,
        "loaded GiB": weights,
        "sampling": {"seconds": began["training"] - started, "peak GiB": peaks["sampling"],
                     "estimated GiB": estimate.sampling_memory.peak / GIB},
        "training": {"seconds": began["end"] - began["training"], "peak GiB": peaks["training"],
                     "estimated GiB": estimate.training_memory.peak / GIB,
                     "steps": trainer.state.global_step},
    }  # fmt: skip


def sandbox(options: argparse.Namespace, out: Path) -> dict[str, Any]:
    script = Path(__file__).with_name("sandbox.py")
    command = [sys.executable, str(script), "--workers", str(options.workers), "--rounds", "2", "--json"]
    if options.shape == "tiny":
        command += ["--programs", "40"]
    return last_json(command)


def quickstart(options: argparse.Namespace, out: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "trl_gift.cli.main", "quickstart", "--json", "--quiet"]
    command += ["--output-dir", str(out / "quickstart")]
    if (out / "quickstart").exists():
        command.append("--resume")
    elif options.shape == "tiny":
        command += ["--tasks", "8", "--heldout", "8", "--rounds", "1", "--steps", "2"]
    started = time.perf_counter()
    found = last_json(command)
    rounds = {f"round {one['round']}": one for one in found["rounds"]}
    return {"seconds": time.perf_counter() - started, **rounds}


def last_json(command: list[str]) -> dict[str, Any]:
    """The JSON object that a command ends with."""
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout if done.stdout.lstrip().startswith("{") else done.stdout.strip().splitlines()[-1])


if __name__ == "__main__":
    main()
