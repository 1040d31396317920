"""How a model is asked: greedy pass@1 on MBPP under our conventions and under three in the shape of the field's.

    python benchmarks/conventions.py --mbpp mbpp_sanitized.jsonl --model smollm2

The field's conventions keep the layout of their harnesses, not their wording:

    few-shot      lm-evaluation-harness: three solved tasks, all tests shown, programs between two marks
    docstring     bigcode-evaluation-harness: the text and all tests as a docstring, completed by the model
    chat, opened  EvalPlus: the text and one test in a code block of a chat question, the answer opened by a fence

All completions are greedy and have the same limit; the same sandbox decides. Prints passed tasks with Wilson's 95 % interval,
generated tokens and prompt tokens. With `--json` the last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from trl_gift import GiFTConfig, Task, load_tasks
from trl_gift.codetext import find_program
from trl_gift.evaluation.pass_at_k import wilson_interval
from trl_gift.generation import GenerationRequest, SamplingParams, end_ids
from trl_gift.generation.compact import CompactEngine
from trl_gift.sandbox import Limits, LocalSandbox

FENCE = "```"


@dataclass(frozen=True)
class Question:
    """What a model is given for one task, and how its completion becomes a program."""

    ids: tuple[int, ...]
    params: SamplingParams
    program: Callable[[str], str | None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mbpp", required=True, help="MBPP, as a JSON Lines file")
    parser.add_argument("--model", required=True, help="a model's name or folder")
    parser.add_argument("--tasks", type=int, default=128, help="tasks of the test split (11-510)")
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="+", help="names of the conventions to run")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    tasks = load_tasks(options.mbpp)
    shots = [task for task in tasks if int(task.task_id) <= 10][:3]
    tests = [task for task in tasks if 11 <= int(task.task_id) <= 510][: options.tasks]
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = AutoModelForCausalLM.from_pretrained(options.model).to(device).eval()
    asked = conventions(tokenizer, end_ids(model, tokenizer), shots, options.max_tokens)
    results = {}
    with LocalSandbox(num_workers=1, limits=Limits(cpu_s=5, wall_s=15), in_process=False) as sandbox:
        for name, ask in asked.items():
            if options.only and name not in options.only:
                continue
            found = measure(CompactEngine(model, tokenizer, options.batch), sandbox, tests, ask)
            results[name] = found
            low, high = found["interval"]
            print(
                f"{name:<32} {found['passed']:>3} of {len(tests)}  {100 * found['passed'] / len(tests):.1f} % "
                f"[{100 * low:.1f}, {100 * high:.1f}]  {found['tokens']:,} tokens generated, "
                f"{found['prompt_tokens']:,} in prompts, {found['cpu_s']:.0f} CPU s",
                flush=True,
            )
    if options.json:
        first = next(iter(results.values()))
        ratios = {f"tokens of {name}": found["tokens"] / first["tokens"] for name, found in results.items()}
        print(json.dumps({"model": options.model, "tasks": len(tests), "ratios": ratios, "results": results}))


def conventions(tokenizer, ends, shots: Sequence[Task], max_tokens: int) -> dict[str, Callable[[Task], Question]]:
    """Ways to ask, by name: ours, then those in the shape of the field's."""

    def ours(**chosen) -> Callable[[Task], Question]:
        prompts = GiFTConfig("unused", use_cpu=True, bf16=False, **chosen).prompts(tokenizer, ends)

        def ask(task: Task) -> Question:
            prompt = prompts.write(task, task.description)
            params = SamplingParams(max_tokens, 0.0, stop=prompt.stop, fence=prompt.fence)

            def program(text: str) -> str | None:
                return prompts.extract(task, prompt.after(text)).code

            return Question(prompt.ids, params, program)

        return ask

    def completed(text_of: Callable[[Task], str], stop: tuple[str, ...], keep_prompt: bool) -> Callable:
        def ask(task: Task) -> Question:
            text = text_of(task)
            program = (lambda written: text + written) if keep_prompt else (lambda written: written)
            return Question(tuple(tokenizer(text)["input_ids"]), SamplingParams(max_tokens, 0.0, stop=stop), program)

        return ask

    def chat_opened(task: Task) -> Question:
        block = f"{FENCE}\n{docstring(task, 1)}{FENCE}"
        question = f"Write a complete Python program for this problem, in one code block:\n{block}"
        messages = [{"role": "user", "content": question}]
        opened = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        opened += f"The function below solves the problem and passes its tests:\n{FENCE}python\n"
        params = SamplingParams(max_tokens, 0.0, stop=(f"\n{FENCE}",))
        ids = tuple(tokenizer(opened, add_special_tokens=False)["input_ids"])
        return Question(ids, params, lambda text: find_program(f"{FENCE}python\n{text}\n{FENCE}", task.signature).code)

    def few_shot(task: Task) -> str:
        solved = [f"{question(shot)}{shot.reference}\n[DONE]\n\n" for shot in shots]
        return "".join(solved) + question(task)

    def question(task: Task) -> str:
        tests = "\n".join(task.examples)
        return f"Task for a Python programmer: {task.description} These tests must pass:\n\n{tests}\n[BEGIN]\n"

    def docstring(task: Task, count: int | None) -> str:
        return '"""\n' + "\n".join([task.description, *task.examples[:count]]) + '\n"""\n'

    blocks = ("\nclass", "\nassert", '\n"""', "\nprint", "\nif", f"\n{FENCE}")
    return {
        "base, 1 test": ours(prompt_format="base"),
        "base, no tests": ours(prompt_format="base", prompt_tests=0),
        "base, all tests": ours(prompt_format="base", prompt_tests=None),
        "chat, opened, 1 test": ours(prompt_format="chat"),
        "chat, opened, all tests": ours(prompt_format="chat", prompt_tests=None),
        "chat, not opened, 1 test": ours(prompt_format="chat", open_answer=False),
        "field: few-shot, all tests": completed(few_shot, ("[DONE]",), keep_prompt=False),
        "field: docstring, all tests": completed(lambda task: docstring(task, None), blocks, keep_prompt=True),
        "field: chat, opened, 1 test": chat_opened,
    }


def measure(engine: CompactEngine, sandbox: LocalSandbox, tasks: Sequence[Task], ask: Callable[[Task], Question]):
    """Asks for a program of every task and runs it."""
    started = time.process_time()
    asked = {task.task_id: ask(task) for task in tasks}
    for task_id, question in asked.items():
        engine.submit(GenerationRequest(task_id, question.ids, question.params, (0,)))
    written = {}
    while engine.pending:
        for done in engine.step():
            written[done.key] = done.completions[0].text
    cpu_s = time.process_time() - started
    programs = {task.task_id: asked[task.task_id].program(written[task.task_id]) for task in tasks}
    outcomes = {
        task.task_id: str(sandbox.run(programs[task.task_id], task.all_tests).status)
        for task in tasks
        if programs[task.task_id] is not None
    }
    passed = [task_id for task_id, status in outcomes.items() if status == "passed"]
    return {
        "passed": len(passed),
        "interval": wilson_interval(len(passed), len(tasks)),
        "passed_tasks": passed,
        "no_code": len(tasks) - len(outcomes),
        "tokens": engine.tokens_generated,
        "prompt_tokens": sum(len(question.ids) for question in asked.values()),
        "cpu_s": cpu_s,
    }


if __name__ == "__main__":
    main()
