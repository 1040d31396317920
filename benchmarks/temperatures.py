"""How programs are drawn: what each temperature and nucleus mass brings on MBPP's training tasks.

    python benchmarks/temperatures.py --mbpp mbpp_sanitized.jsonl --model smollm2

Every setting draws the same number of programs from each task's own description. Prints, for each, the programs that passed
with Wilson's 95 % interval (programs of one task are not independent, so it is too narrow), the tasks solved, the passing
programs that differ in their syntax tree, and the tokens. With `--json` the last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from trl_gift import GiFTConfig, Task, codetext, load_tasks
from trl_gift.common.randomness import stream_key
from trl_gift.evaluation.pass_at_k import wilson_interval
from trl_gift.generation import GenerationRequest, SamplingParams, end_ids
from trl_gift.generation.compact import CompactEngine
from trl_gift.prompts import PromptFormat
from trl_gift.sandbox import Limits, LocalSandbox

SETTINGS = {
    "greedy": {"temperature": 0.0},
    "T 0.2, top_p 0.95": {"temperature": 0.2, "top_p": 0.95},
    "T 0.4, top_p 0.95": {"temperature": 0.4, "top_p": 0.95},
    "T 0.6, top_p 0.95": {"temperature": 0.6, "top_p": 0.95},
    "T 0.8, top_p 0.95": {"temperature": 0.8, "top_p": 0.95},
    "T 0.8": {"temperature": 0.8},
    "T 1.0, top_p 0.95": {"temperature": 1.0, "top_p": 0.95},
    "T 1.0, top_k 50": {"temperature": 1.0, "top_k": 50},
    "T 1.0": {"temperature": 1.0},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mbpp", required=True, help="MBPP, as a JSON Lines file")
    parser.add_argument("--model", required=True, help="a model's name or folder")
    parser.add_argument("--tasks", type=int, default=96, help="tasks of the training split (601-974)")
    parser.add_argument("--generations", type=int, default=8, help="programs of each task; greedy draws one")
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--prompt-format", default="auto", choices=("auto", "base", "chat"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    tasks = [task for task in load_tasks(options.mbpp) if 601 <= int(task.task_id) <= 974][: options.tasks]
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = AutoModelForCausalLM.from_pretrained(options.model).to(device).eval()
    args = GiFTConfig("unused", use_cpu=True, bf16=False, prompt_format=options.prompt_format)
    prompts = args.prompts(tokenizer, end_ids(model, tokenizer))
    results = {}
    with LocalSandbox(num_workers=1, limits=Limits(cpu_s=5, wall_s=15), in_process=False) as sandbox:
        for name, drawn in SETTINGS.items():
            count = options.generations if drawn["temperature"] else 1
            params = SamplingParams(options.max_tokens, **drawn)
            engine = CompactEngine(model, tokenizer, options.batch)
            found = measure(engine, sandbox, prompts, tasks, params, count)
            results[name] = found
            low, high = found["interval"]
            print(
                f"{name:<20} {found['passed']:>3} of {found['samples']} passed "
                f"({100 * found['passed'] / found['samples']:.1f} % [{100 * low:.1f}, {100 * high:.1f}]), "
                f"{found['solved_tasks']} of {len(tasks)} tasks solved, {found['distinct_programs']} distinct, "
                f"{found['tokens']:,} tokens; {found['statuses']}",
                flush=True,
            )
    if options.json:
        most = max(found["distinct_programs"] for found in results.values()) or 1
        ratios = {f"distinct programs, {name}": found["distinct_programs"] / most for name, found in results.items()}
        print(json.dumps({"model": options.model, "tasks": len(tasks), "ratios": ratios, "results": results}))


def measure(
    engine: CompactEngine,
    sandbox: LocalSandbox,
    prompts: PromptFormat,
    tasks: Sequence[Task],
    params: SamplingParams,
    count: int,
):
    """Draws `count` programs of every task and runs them."""
    asked = {task.task_id: prompts.write(task, task.description) for task in tasks}
    for task_id, prompt in asked.items():
        keys = tuple(stream_key(0, task_id, index) for index in range(count))
        own = replace(params, stop=prompt.stop, fence=prompt.fence)
        engine.submit(GenerationRequest(task_id, prompt.ids, own, keys))
    written = {}
    while engine.pending:
        for done in engine.step():
            written[done.key] = [completion.text for completion in done.completions]
    statuses: Counter[str] = Counter()
    passing: dict[str, set[str]] = {}
    for task in tasks:
        for text in written[task.task_id]:
            found = prompts.extract(task, asked[task.task_id].after(text))
            status = str(sandbox.run(found.code, task.all_tests).status) if found.code is not None else "no_code"
            statuses[status] += 1
            if status == "passed":
                passing.setdefault(task.task_id, set()).add(codetext.normalise(found.code))
    samples = count * len(tasks)
    return {
        "samples": samples,
        "passed": statuses["passed"],
        "interval": wilson_interval(statuses["passed"], samples),
        "solved_tasks": len(passing),
        "distinct_programs": sum(map(len, passing.values())),
        "statuses": dict(statuses),
        "tokens": engine.tokens_generated,
    }


if __name__ == "__main__":
    main()
