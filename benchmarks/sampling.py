"""Sampling side by side, in one run: the authors' schedule, batched `generate`, and ours.

    python benchmarks/sampling.py --tasks 48 --steps 4
    python benchmarks/sampling.py --model smollm2 --mbpp mbpp_sanitized.jsonl --lora 16 --tasks 16 --steps 2 \\
        --generations 4 --generate-sizes 24 64 --max-tokens 256 --no-authors --vllm 'vllm serve'

The same model, tasks, seed and number of samples for all:

(a) the authors' schedule, written from the description of the method: one task per `generate` call with 3 sequences, a
    barrier after each step, execution after generation, a separate pass for the perplexities, one description a call;
(b) plain `generate` over all chains at once, in batches of several sizes (the best one counts), without barriers;
(c) ours: the compact engine;
(d) with `--vllm`, our client of a vLLM server that is started for it; its CPU seconds count. On a CPU only:
    `benchmarks/gpu.py` compares with vLLM on a GPU.

Tasks are the playground's or, with `--mbpp`, MBPP's training tasks. With `--lora` the model has an adapter of that rank, as from the
second round of a LoRA run on: `generate` computes it beside the weights, as transformers does, vLLM serves it as an adapter,
and ours samples as the trainer does.

Prints tokens/s, tokens for each CPU second, the peak of this process's memory in GB, samples/s and where the time went, and
the ratio to a ceiling measured in the same run: the same number of tokens by the engine's own decoding step on a batch that
is always full, no prefill, no scheduling. Its rows are all different, while the engine computes what several completions
share once: the ratio may exceed one. Everything but the slow schedule (a) is measured several times, in turns, because
machines do not keep their speed: ratios are those of one turn, and their median counts. With `--json` the last line is one
JSON object whose `ratios` maps names to numbers.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache

from trl_gift import GiFTConfig, codetext, load_tasks
from trl_gift.common.randomness import generator, stream_key
from trl_gift.generation import GenerateEngine, GenerationRequest, SamplingParams, end_ids, merged_adapter, scoring
from trl_gift.generation.compact import DEFAULT_ROWS, CompactEngine, SlotCache
from trl_gift.generation.decoding import draw_tokens
from trl_gift.generation.server import ServerOptions, serving
from trl_gift.generation.server.vllm import OPTIONS
from trl_gift.playground import model_path, playground_tasks
from trl_gift.prompts import clean_description
from trl_gift.sampling.chain import gibbs
from trl_gift.sampling.context import ChainContext, ChainSettings
from trl_gift.sampling.scheduler import Scheduler
from trl_gift.sandbox import Limits, LocalSandbox

MBPP_TRAIN = range(601, 975)


@dataclass
class Figures:
    """What one way of sampling came to."""

    name: str
    samples: int
    tokens: int
    passed: int
    programs: int
    total: float
    generation: float
    waiting: float
    cpu: float = 0.0
    peak: float = 0.0

    def line(self) -> str:
        """One row of the table."""
        other = self.total - self.generation - self.waiting
        shares = " ".join(f"{value / self.total:6.1%}" for value in (self.generation, self.waiting, other))
        rates = f"{self.samples / self.total:8.1f} {self.tokens / self.total:9.0f} "
        rates += f"{self.tokens / self.cpu:12.0f} {self.peak:7.2f}" if self.cpu else f"{'':20}"
        return (
            f"{self.name:<20} {self.samples:>7} {self.tokens:>8} {self.passed:>7} {self.programs:>8} {self.total:8.1f} "
            f"{rates}   {shares}"
        )


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    dtype = getattr(torch, options.dtype)
    model = AutoModelForCausalLM.from_pretrained(options.model or model_path(), dtype=dtype).to(device).eval()
    tokenizer = AutoTokenizer.from_pretrained(options.model or model_path())
    prompts = GiFTConfig("unused", use_cpu=device.type == "cpu", bf16=False).prompts(
        tokenizer, end_ids(model, tokenizer)
    )
    if options.lora:
        model = adapted(model, options.lora)
    if options.mbpp:
        tasks = [task for task in load_tasks(options.mbpp) if int(task.task_id) in MBPP_TRAIN][: options.tasks]
    else:
        tasks = playground_tasks("train", options.tasks)
    settings = ChainSettings(
        sampler="gibbs",
        seed=0,
        round=1,
        num_steps=options.steps,
        num_generations=options.generations,
        code_params=SamplingParams(options.max_tokens),
        description_params=SamplingParams(64, top_p=0.95),
        num_description_examples=0,
    )

    def batched(size: int) -> Figures:
        return ours(
            GenerateEngine(model, tokenizer, size), tasks, settings, prompts, sandbox, f"generate, {size} rows"
        )

    def compact() -> Figures:
        with merged_adapter(model):
            engine = CompactEngine(model, tokenizer, rows)
            return ours(engine, tasks, settings, prompts, sandbox, "compact (ours)")

    rows = options.batch_size or DEFAULT_ROWS
    full = min(rows, len(tasks) * options.generations)
    if options.attention:
        with LocalSandbox(num_workers=options.workers, limits=Limits(cpu_s=2, wall_s=6)) as sandbox:
            attention(model, compact)
        return
    header = "samples   tokens  passed programs  seconds samples/s  tokens/s tokens/CPU s peak GB  generation, waiting for programs, other"
    print(f"{'':<20} {header}", flush=True)
    limits = Limits(cpu_s=2, wall_s=6)
    with LocalSandbox(num_workers=options.workers, limits=limits) as sandbox:  # the faster one, for one at a time
        ours(CompactEngine(model, tokenizer), tasks[:4], settings, prompts, sandbox, "warm-up")
        authors = None if options.no_authors else authors_schedule(model, tokenizer, tasks, settings, prompts, sandbox)
        if authors:
            print(authors.line(), flush=True)
    with (
        LocalSandbox(num_workers=options.workers, limits=limits, in_process=False) as sandbox,
        vllm_engine(options.vllm, model, tokenizer) if options.vllm else nullcontext() as server,
    ):
        turns = []
        for _ in range(options.repeats):
            served = [ours(server, tasks, settings, prompts, sandbox, "vLLM, our client")] if server else []
            turn = [*map(batched, options.generate_sizes), *served, compact()]
            prompt = prompts.write(tasks[0], tasks[0].description).ids
            # As many tokens as ours, in completions of the same mean length, each after the same prompt.
            mean = round(turn[-1].tokens / turn[-1].samples)
            with merged_adapter(model):
                tops = ceiling_rate(model, full, prompt, turn[-1].tokens, max(8, mean))
            ratios = ratios_of(authors, turn[: len(options.generate_sizes)], turn[-1], tops)
            if served:
                ratios["tokens_per_cpu_s_vs_vllm"] = rate(turn[-1], "tokens", "cpu") / rate(served[0], "tokens", "cpu")
            turns.append(ratios)
            for figures in turn:
                print(figures.line(), flush=True)
            print(f"{'ceiling':<20} {tops:.0f} tokens/s in a batch of {full} that is always full", flush=True)
    ratios = {name: statistics.median(turn[name] for turn in turns) for name in turns[0]}
    print(f"median of {options.repeats} turns (lowest, highest):")
    for name, value in ratios.items():
        every = [turn[name] for turn in turns]
        print(f"{name}: {value:.3g} ({min(every):.3g}, {max(every):.3g})")
    if options.json:
        print(json.dumps({"device": str(device), "dtype": options.dtype, "ratios": ratios}))


def attention(model, compact) -> None:
    """Prints how much of attention computes columns that no row needs, and what a cache without them could gain at most."""
    columns = {"needed": 0, "computed": 0}
    seconds = 0.0
    plain = torch.nn.functional.scaled_dot_product_attention

    def timed(*args, **kwargs):
        nonlocal seconds
        began = time.process_time()
        result = plain(*args, **kwargs)
        seconds += time.process_time() - began
        return result

    def count(module, args, kwargs) -> None:
        mask = kwargs.get("attention_mask")
        if mask is not None and kwargs["input_ids"].shape[1] == 1:
            seen = mask >= 0 if mask.is_floating_point() else mask.bool()
            columns["needed"] += int(seen.sum())
            columns["computed"] += seen.numel()

    hook = model.register_forward_pre_hook(count, with_kwargs=True)
    torch.nn.functional.scaled_dot_product_attention = timed
    try:
        began = time.process_time()
        figures = compact()
        total = time.process_time() - began
    finally:
        hook.remove()
        torch.nn.functional.scaled_dot_product_attention = plain
    needed, share = columns["needed"] / columns["computed"], seconds / total
    print(
        f"{figures.tokens} tokens, {total:.1f} CPU seconds, {share:.1%} of them in attention; {needed:.1%} of its columns are "
        f"needed. Without the others the engine would be at most {1 / (1 - share * (1 - needed)):.3f} times as fast."
    )


def ratios_of(authors: Figures | None, generate: list[Figures], mine: Figures, tops: float) -> dict[str, float]:
    """How ours compares in one turn, with the best batch of `generate` in that turn."""
    slow = {"samples_per_s_vs_authors_schedule": rate(mine, "samples") / rate(authors, "samples")} if authors else {}
    return slow | {
        "tokens_per_s_vs_generate": rate(mine, "tokens") / max(rate(figures, "tokens") for figures in generate),
        "tokens_per_cpu_s_vs_generate": rate(mine, "tokens", "cpu")
        / max(rate(figures, "tokens", "cpu") for figures in generate),
        "share_of_ceiling": mine.tokens / mine.generation / tops,
        "time_outside_generation": 1 - mine.generation / mine.total,
    }


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=48)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--generate-sizes", type=int, nargs="+", default=[24, 64, 128])
    parser.add_argument("--repeats", type=int, default=3, help="turns of everything but the authors' schedule")
    parser.add_argument("--batch-size", type=int, help="rows of the compact engine; its own choice by default")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1, help="programs executed at once; leave the model a core")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--model", help="a local folder; the embedded model by default")
    parser.add_argument("--lora", type=int, help="the rank of an adapter of the model")
    parser.add_argument("--mbpp", help="MBPP, as a JSON Lines file, in place of the playground's tasks")
    parser.add_argument("--generations", type=int, default=3, help="programs of a step")
    parser.add_argument("--no-authors", action="store_true", help="leave out the authors' schedule, which is slow")
    parser.add_argument("--vllm", help="the command that starts a vLLM server, such as 'vllm serve'")
    parser.add_argument("--max-tokens", type=int, default=112, help="of a program")
    parser.add_argument("--attention", action="store_true", help="only this: what attention computes in vain")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.vllm and options.device != "cpu":
        parser.error("--vllm needs --device cpu; benchmarks/gpu.py compares with vLLM on a GPU.")
    return options


def rate(figures: Figures, what: str, by: str = "total") -> float:
    return getattr(figures, what) / getattr(figures, by)


def cpu_seconds() -> float:
    """CPU seconds of this process and of the processes that it has started, such as a server."""
    times = [process.cpu_times() for process in psutil.Process().children(recursive=True)]
    return time.process_time() + sum(each.user + each.system for each in times)


def memory_peak() -> float:
    """Most bytes that this process has had since the last call."""
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    Path("/proc/self/clear_refs").write_text("5")  # the kernel's way to begin the peak anew
    return peak


def adapted(model, rank: int):
    """The model with a LoRA adapter in every layer, whose weights are drawn: it adds a little, as a trained one does."""
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", init_lora_weights=False)
    torch.manual_seed(0)
    model = get_peft_model(model, config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.mul_(0.01)
    return model


@contextmanager
def vllm_engine(command: str, model, tokenizer):
    """Our client of a vLLM server that is started for the block, as a run starts it.

    Args:
        command: The command that starts a server, such as `vllm serve`.
        model: The model, on a CPU; an adapter of it is served as one.
        tokenizer: Its tokenizer.
    """
    options = ServerOptions(command=f"{command} {{model}} {OPTIONS}")
    has_adapter = isinstance(model, PeftModel)
    with tempfile.TemporaryDirectory() as folder, serving(
        options, model, tokenizer, weights="benchmark", folder=Path(folder), is_base=not has_adapter, is_main=True,
        wait_for_everyone=lambda: None,
    ) as engine:  # fmt: skip
        yield engine


def ours(engine, tasks, settings, prompts, sandbox, name) -> Figures:
    """All chains at once on an engine, without barriers."""
    for remembered in (codetext.complete, codetext.strip_docstrings):
        remembered.cache_clear()  # an earlier turn has seen the same texts
    samples = []
    tools = ChainContext(settings, prompts, [], lambda task, step: [], samples.append)
    scheduler = Scheduler(engine, sandbox)
    before, cpu = engine.tokens_generated, cpu_seconds()
    memory_peak()
    scheduler.run(gibbs(task, tools) for task in tasks)
    times = scheduler.times
    passed = sum(sample.passed for sample in samples)
    cpu, peak = cpu_seconds() - cpu, memory_peak() / 1e9
    counts = len(samples), engine.tokens_generated - before, passed, scheduler.executions.count
    return Figures(name, *counts, times.total, times.generation, times.waiting, cpu, peak)


def authors_schedule(model, tokenizer, tasks, settings, prompts, sandbox) -> Figures:
    """One task per call, a barrier per step, execution and perplexity afterwards."""
    engine = GenerateEngine(model, tokenizer, settings.num_generations)
    started = time.perf_counter()
    generation = waiting = 0.0
    descriptions = {task.task_id: task.description for task in tasks}
    latest: dict[str, str] = {}
    samples = passed = programs = 0

    def call(key, prompt, params, keys):
        nonlocal generation
        began = time.perf_counter()
        engine.submit(GenerationRequest(key, prompt.ids, replace(params, stop=prompt.stop, fence=prompt.fence), keys))
        (result,) = engine.step()
        generation += time.perf_counter() - began
        return result.completions

    for step in range(settings.num_steps):
        written = {}
        for task in tasks:
            keys = tuple(
                stream_key(0, 1, task.task_id, step, index, "code") for index in range(settings.num_generations)
            )
            params = SamplingParams(settings.code_params.max_new_tokens)
            prompt = prompts.write(task, descriptions[task.task_id])
            completions = call(("write", task.task_id), prompt, params, keys)
            written[task.task_id] = (
                prompt,
                [prompts.extract(task, prompt.after(completion.text)) for completion in completions],
            )
            samples += settings.num_generations
        began = time.perf_counter()
        passing = {}
        for task in tasks:
            found = [extraction for extraction in written[task.task_id][1] if extraction.code is not None]
            outcomes = [sandbox.run(extraction.code, task.tests) for extraction in found]
            programs += len(found)
            passing[task.task_id] = [e for e, outcome in zip(found, outcomes, strict=True) if outcome.passed]
            passed += len(passing[task.task_id])
        waiting += time.perf_counter() - began
        began = time.perf_counter()
        for task in tasks:
            prompt, found = written[task.task_id]
            pairs = [prompts.encode(prompt, extraction.target) for extraction in found if extraction.code is not None]
            for pair in pairs:
                scoring.score(model, [pair])
        generation += time.perf_counter() - began
        if step + 1 == settings.num_steps:
            break
        for task in tasks:
            codes = passing[task.task_id]
            if codes:
                place = int(generator(stream_key(0, 1, task.task_id, step, 0, "continue")).integers(len(codes)))
                latest[task.task_id] = codes[place].code
            if task.task_id not in latest:
                continue
            params = SamplingParams(64, top_p=0.95)
            keys = (stream_key(0, 1, task.task_id, step + 1, 0, "description"),)
            prompt = prompts.read(task, latest[task.task_id])
            (completion,) = call(("read", task.task_id), prompt, params, keys)
            descriptions[task.task_id] = clean_description(prompt.after(completion.text)) or task.description
    total = time.perf_counter() - started
    counts = samples, engine.tokens_generated, passed, programs
    return Figures("authors' schedule", *counts, total, generation, waiting)


def ceiling_rate(model, rows: int, prompt: Sequence[int], tokens: int, steps: int) -> float:
    """Tokens per second of the engine's decoding step alone, on a batch that never changes.

    Args:
        model: The model.
        rows: Rows of the batch.
        prompt: The token ids that every completion follows.
        tokens: The least number of tokens to draw in all.
        steps: Tokens of a completion.
    """
    device = model.device
    uniforms = torch.rand(rows, 1, dtype=torch.float64)
    params = SamplingParams(steps)
    done, seconds = 0, 0.0
    with torch.inference_mode():
        while done < tokens:
            prefill = DynamicCache()
            ids = torch.tensor([prompt], device=device)
            model(input_ids=ids, past_key_values=prefill, use_cache=True, logits_to_keep=1)
            cache = SlotCache()
            cache.admit(prefill, [len(prompt)], torch.zeros(rows, dtype=torch.long, device=device), most=rows)
            latest = torch.full((rows, 1), prompt[-1], device=device)
            began = time.perf_counter()
            for step in range(steps):
                position = torch.full((rows, 1), len(prompt) + step, device=device)
                mask = cache.begin_step()
                output = model(
                    input_ids=latest, attention_mask=mask, position_ids=position, past_key_values=cache,
                    use_cache=True, logits_to_keep=1,
                )  # fmt: skip
                cache.end_step()
                latest = draw_tokens(output.logits[:, -1], uniforms, params).tokens
                latest.tolist()
            seconds += time.perf_counter() - began
            done += rows * steps
    return done / seconds


if __name__ == "__main__":
    main()
