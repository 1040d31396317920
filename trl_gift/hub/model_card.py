"""The model card: what TRL writes, with everything that the run's records say and nothing that they do not.

Kept from TRL's card: its metadata, the links to trackers and its citations. The rest is about this run: results with
intervals, how to load it, how it was trained, how its programs were verified, and what that does not show.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from trl_gift.hub.facts import ModelFacts, RunFacts

PAPER = "https://arxiv.org/abs/2502.11466"
_STAR = "https://arxiv.org/abs/2203.14465"
CITATION = """@inproceedings{li-etal-2025-gift,
  title     = {{GiFT}: {G}ibbs Fine-Tuning for Code Generation},
  author    = {Li, Haochen and Feng, Wanjin and Zhou, Xin and Shen, Zhiqi},
  booktitle = {Proceedings of the 63rd Annual Meeting of the Association for Computational Linguistics
               (Volume 1: Long Papers)},
  year      = {2025},
  url       = {https://aclanthology.org/2025.acl-long.599/}
}"""
OUR_CITATION = """@software{trl_gift,
  title   = {{trl\\_gift: Self-training of code models on their own verified code}},
  author  = {{The trl\\_gift contributors}},
  license = {Apache-2.0}
}"""
_TAGS = ("code", "self-training", "trl-gift")
_SAMPLERS = {
    "gibbs": (
        "GiFT (Gibbs Fine-Tuning)",
        "Codes come from a chain of the model's own making: a code is written from the description, a passing code "
        "is described in words, the next code is written from those words, and so on.",
    ),
    "conditional": (
        "rejection sampling fine-tuning",
        "All codes were written from the task's own description (`sampler=\"conditional\"`, without GiFT's chain).",
    ),
    "rewrite": (
        "rejection sampling fine-tuning with rewritten descriptions",
        "Each step's codes were written from the model's paraphrase of the task's description "
        '(`sampler="rewrite"`, without GiFT\'s chain).',
    ),
    "hinted": (
        "rejection sampling fine-tuning with hints",
        "Codes were written from the task's own description; what half of the steps left unsolved was tried again with a "
        'hint, which the training prompts do not show (`sampler="hinted"`, without GiFT\'s chain).',
    ),
}


def extend_model_card(card: ModelCard, model: ModelFacts, run: RunFacts | None) -> ModelCard:
    """The card for a run.

    Args:
        card: What TRL has written; its metadata, badges and citations are kept.
        model: What the trainer knows.
        run: What the run has recorded; None before it has started.
    """
    badges = re.findall(r"^\[<img .*\)[ \t]*$", card.text, flags=re.MULTILINE)
    trl_citations = [text for text in re.findall(r"```bibtex\n.*?```", card.text, flags=re.DOTALL) if "trl" in text]
    tags = [tag for tag in card.data.get("tags") or () if not tag.startswith("base_model:")]
    tags = sorted({*tags, *_TAGS, *(["lora"] if model.adapter and "LoRA" in model.adapter else [])})
    datasets = [name for name in (model.dataset, model.samples_repo) if name]
    new: dict[str, Any] = {
        **model.licence,
        "base_model": model.base_model,
        "datasets": datasets or None,
        "library_name": "peft" if model.adapter else "transformers",
        "pipeline_tag": "text-generation",
        "model_name": model.name,
        "tags": tags,
    }
    parts = [
        f"# {model.name}",
        _summary(model, run),
        "\n".join(badge.strip() for badge in badges),
        _results(model, run) if run else "",
        _usage(model),
        _training(model, run) if run else "",
        _limits(model, run),
        "\n\n".join(["## Citation", _fence("bibtex", CITATION), _fence("bibtex", OUR_CITATION), *trl_citations]),
    ]
    text = "\n\n".join(part for part in parts if part)
    extended = ModelCard(f"---\n{{}}\n---\n\n{text}\n")
    extended.data = ModelCardData(**{name: value for name, value in new.items() if value is not None})
    return extended


def percent(value: float) -> str:
    """A share as a percentage."""
    return f"{value:.1%}"


def table(header: Sequence[str], rows: Sequence[Sequence[object]], align: str = "") -> str:
    """A Markdown table; `align` has `l` or `r` for each column, left if not given."""
    marks = [("---:" if mark == "r" else "---") for mark in align.ljust(len(header), "l")]
    lines = [header, marks, *rows]
    return "\n".join("| " + " | ".join(_cell(str(item)) for item in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _fence(language: str, text: str) -> str:
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    marks = "`" * max(3, longest + 1)  # chat prompts hold fences of their own
    return f"{marks}{language}\n{text}\n{marks}"


def _link(kind: str, name: str) -> str:
    return f"[{name}](https://huggingface.co/{kind}{name})"


def _plural(count: int, word: str) -> str:
    return f"{count:,} {word}" + ("" if count == 1 else "s")


# Parts ----------------------------------------------------------------------------------------------------------


def _summary(model: ModelFacts, run: RunFacts | None) -> str:
    what = "A LoRA adapter for" if model.adapter and "LoRA" in model.adapter else "An adapter for"
    what = what if model.adapter else "A fine-tuned version of"
    base = _link("", model.base_model) if model.base_model else f"{model.base_text} that has no name on the Hub"
    if run is None:
        return f"{what} {base}, made with `trl_gift` and TRL. No training has been recorded for it."
    method, _ = sampler_in_words(run)
    checked = "that passed tests" if _is_verified(run) else "that nothing has checked"
    done, planned = len(run.rounds), run.options["num_rounds"]
    if done == 0:
        state = f"Training is under way: no round of {planned} has been finished."
    elif done < planned:
        state = f"Training is under way: {_plural(done, 'round')} of {planned} finished."
    else:
        state = f"It went through {_plural(done, 'round')}."
    return (
        f"{what} {base}, trained on code that it wrote itself and {checked}: {method}, with "
        f"[TRL](https://github.com/huggingface/trl) and its extension `trl_gift`. {state}"
    )


def _results(model: ModelFacts, run: RunFacts) -> str:
    measured = [("base", run.base, None)] if run.base else []
    measured += [
        (f"round {item['round']}", item["metrics"], item.get("gain")) for item in run.rounds if "metrics" in item
    ]
    if not measured:
        return "## Results\n\nNothing was measured: the run had no evaluation tasks."
    names = [name for name in measured[-1][1] if name.endswith(tuple("0123456789"))]
    shown = {name: "greedy pass@1" if name == "pass@1" else name.replace("sampled_", "sampled ") for name in names}
    has_gain = any(gain for *_, gain in measured)
    rows = []
    for title, metrics, gain in measured:
        row = [title, *(_with_interval(metrics, name) for name in names)]
        if has_gain:
            row.append(f"{_points(gain['pass@1'])} [{_points(gain['low'])}, {_points(gain['high'])}]" if gain else "")
        rows.append(row)
    header = ["", *shown.values(), *(["gain in greedy pass@1 over base, points"] if has_gain else [])]
    of = f" of {_link('datasets/', model.eval_dataset)}" if model.eval_dataset else ""
    notes = [
        f"Measured by the run itself on {_plural(run.num_eval_tasks, 'task')}{of}, which were not sampled for training; "
        "every verdict comes from executing the code against the task's tests. In brackets: 95 % intervals over tasks "
        "(Wilson's for greedy pass@1, bootstrap for the others; the gain is paired, task by task)."
    ]
    if run.overlapping is None:
        notes.append("Whether the seeds overlap with these tasks was not looked into.")
    else:
        notes.append(
            "Seeds that overlap with these tasks, by the words of the description or the code of the reference, were left "
            f"out before training: {run.overlapping}."
        )
    if has_gain and (gain := measured[-1][2]):
        interval = f"[{_points(gain['low'])}, {_points(gain['high'])}]"
        if gain["low"] > 0:
            notes.append(f"The model solves more of them than its base: the gain's interval {interval} is above zero.")
        elif gain["high"] < 0:
            notes.append(
                f"The model solves fewer of them than its base: the gain's interval {interval} is below zero."
            )
        else:
            notes.append(f"An improvement over the base is not shown: the gain's interval {interval} holds zero.")
    if any(name.startswith("sampled") for name in names):
        notes.append(
            f"Sampled figures are unbiased estimates from {run.options['eval_num_generations']} codes for each task at "
            f"temperature {run.options['eval_temperature']}."
        )
    lost = sum(int(metrics.get("infrastructure_failures", 0)) for _, metrics, _ in measured)
    if lost:
        notes.append(f"{_plural(lost, 'attempt')} could not be executed and count neither way.")
    return "\n\n".join(["## Results", table(header, rows, "l" + "r" * (len(header) - 1)), " ".join(notes)])


def _with_interval(metrics: Mapping[str, float], name: str) -> str:
    if name not in metrics:
        return ""
    return f"{percent(metrics[name])} [{percent(metrics[f'{name}_low'])}, {percent(metrics[f'{name}_high'])}]"


def _points(value: float) -> str:
    return f"{100 * value:+.1f}"


def _usage(model: ModelFacts) -> str:
    repo = model.repo_id or "path/to/this/model"
    lines = ["from transformers import AutoModelForCausalLM, AutoTokenizer", ""]
    if model.adapter:
        lines.insert(0, "from peft import PeftModel")
        base = model.base_model or "path/to/the/base/model"
        lines += [
            f'model = AutoModelForCausalLM.from_pretrained("{base}", dtype="auto")',
            f'model = PeftModel.from_pretrained(model, "{repo}")',
        ]
    else:
        lines += [f'model = AutoModelForCausalLM.from_pretrained("{repo}", dtype="auto")']
    lines += [f'tokenizer = AutoTokenizer.from_pretrained("{repo}")', ""]
    lines += [
        f"prompt = {_literal(model.prompt)}",
        'inputs = tokenizer(prompt, add_special_tokens=False, return_tensors="pt").to(model.device)',
    ]
    lines += [
        "output = model.generate(**inputs, max_new_tokens=256, do_sample=False)",
        'print(tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))',
    ]
    notes = ["This is the form of the prompts in training, special tokens included."]
    if model.adapter and not model.base_model:
        notes.append("The base model is not on the Hub; the adapter fits no other.")
    if model.adapter and model.quantization:
        notes.append(
            f"In training the base was {model.quantization}; loaded unquantised, figures may differ from those above. "
            "Merge the adapter into unquantised weights only."
        )
    notes.append("Run what it writes in a sandbox.")
    return "\n\n".join(["## How to use it", _fence("python", "\n".join(lines)), " ".join(notes)])


def _literal(text: str) -> str:
    """A Python literal of the text that reads well."""
    body = text.replace("\\", "\\\\").replace("\r", "\\r").replace("'''", "\\'\\'\\'")
    if body.endswith("'"):
        body = body[:-1] + "\\'"
    return f"'''{body}'''"


def _training(model: ModelFacts, run: RunFacts) -> str:
    parts = ["## How it was trained", _method(model, run)]
    if run.rounds:
        parts += ["### Rounds", _rounds(run)]
    parts += ["### Verification", _verification(run)]
    parts += ["### Settings", _settings(model, run)]
    versions = ", ".join(f"{name} {version}" for name, version in run.versions.items())
    parts += ["### Versions", versions + "."]
    return "\n\n".join(parts)


def _is_verified(run: RunFacts) -> bool:
    return bool(run.options.get("verify", True))


def sampler_in_words(run: RunFacts) -> tuple[str, str]:
    """The method that the run's sampler makes, as a name and as a sentence."""
    name = str(run.options["sampler"])
    return _SAMPLERS.get(name, (f"self-training with the sampler `{name}`", ""))


def _method(model: ModelFacts, run: RunFacts) -> str:
    options = run.options
    _, sampling = sampler_in_words(run)
    verified = _is_verified(run)
    seeds = _plural(run.num_seeds, "seed task") + (
        f" from {_link('datasets/', model.dataset)}" if model.dataset else " (a dataset that is not named here)"
    )
    pool = "all passing codes" if verified else "all codes"
    if options["pool"] == "continuing":
        pool = f"the {'passing ' if verified else ''}codes that the chain went on from"
    number = options["num_selected"]
    draw = f"For each seed, {number} codes were drawn from {pool}" if number else f"For each seed, {pool} were taken"
    if options["perplexity_weight"]:
        draw += ", rarer ones preferred by their perplexity under the model that wrote them"
    draw += ", and paired with the seed's own description."
    references = run.rounds[-1]["references"] if run.rounds else None
    if references:
        draw += f" {_plural(references, 'reference solution')} of the seeds were trained on besides."
    elif references == 0 or not options["train_on_references"]:
        draw += " No reference solution was trained on."
    start = "the base weights" if options["restart_from_base"] else "the weights of the round before"
    pooled = "all rounds so far" if options["accumulate_samples"] else "that round alone"
    text = (
        f"Each round took {seeds}{' with tests' if verified else ''}, sampled codes with the current model, "
        f"{'executed them, ' if verified else ''}and fine-tuned. "
        f"{sampling} {draw}"
    )
    if options["num_rounds"] > 1:
        text += f" Every round was fine-tuned from {start}, on codes of {pooled}."
    if options["sampler"] == "hinted":
        text += f" The method is that of [STaR]({_STAR})."
    elif verified:
        text += f" The method is that of [GiFT: Gibbs Fine-Tuning for Code Generation]({PAPER})"
        text += "." if options["sampler"] == "gibbs" else "'s baselines."
    if model.samples_repo:
        text += (
            f" Every sampled code, with where it came from and what became of it, is in "
            f"{_link('datasets/', model.samples_repo)}."
        )
    return text


def _rounds(run: RunFacts) -> str:
    header = [
        "round",
        "codes sampled",
        "passed",
        "seeds solved",
        "distinct programs",
        "training pairs",
        "tokens sampled",
    ]
    verified = _is_verified(run)
    rows = [
        [
            item["round"],
            f"{item['samples']:,}",
            f"{item['passed']:,} ({percent(item['passed'] / max(item['samples'], 1))})" if verified else "not run",
            f"{item['solved_tasks']:,} of {item['tasks']:,}" if verified else "not known",
            f"{item['distinct_programs']:,}",
            f"{item['pairs']:,}",
            f"{item['tokens']:,}",
        ]
        for item in run.rounds
    ]
    whose = "all rounds so far" if run.options["accumulate_samples"] else "the round"
    note = (
        f"Seeds solved and distinct programs (by normalised syntax tree, summed over seeds) count the codes of {whose}; "
        "the other figures are the round's own."
    )
    without = sum(item["no_code"] for item in run.rounds)
    if without:
        note += f" {_plural(without, 'completion')} held no code."
    return table(header, rows, "r" * len(header)) + "\n\n" + note


def _verification(run: RunFacts) -> str:
    options = run.options
    if not _is_verified(run):
        return "None: nothing that was sampled for training was executed."
    executed: dict[str, int] = {}
    trusted = 0
    for item in run.rounds:
        verdicts = item.get("verdicts", {})
        trusted += verdicts.get("trusted", 0)
        for isolation, count in verdicts.get("isolation", {}).items():
            executed[isolation] = executed.get(isolation, 0) + count
    total = sum(executed.values())
    limits = f"A program had {options['execution_cpu_s']:g} s of CPU time and {options['execution_memory_mb']:,} MiB of memory."
    if not total:
        return f"{limits} Which isolation was in force is not on record."
    layers = [(count, "no isolation" if name == "none" else f"`{name}`") for name, count in sorted(executed.items())]
    under = layers[0][1] if len(layers) == 1 else ", ".join(f"{layer} ({count:,})" for count, layer in layers)
    text = f"{_plural(total, 'program')} {'was' if total == 1 else 'were'} executed under {under}. "
    if trusted == total:
        text += "Every verdict was decided where the program could not reach it."
    else:
        text += (
            f"{percent(trusted / total)} of the verdicts were decided where the program could not reach it; the others "
            "come from tests that ran beside the program, which could have forged them."
        )
    return f"{text} {limits}"


def _settings(model: ModelFacts, run: RunFacts) -> str:
    options = run.options
    codes = [f"temperature {options['temperature']:g}", f"top-p {options['top_p']:g}"]
    if options["top_k"]:
        codes.append(f"top-k {options['top_k']}")
    codes.append(f"at most {options['max_completion_length']} tokens")
    rows: list[tuple[str, Any]] = [
        ("Codes for each seed and round", f"{options['num_steps']} steps × {options['num_generations']}"),
        ("Decoding of codes", ", ".join(codes)),
    ]
    if options["sampler"] in ("gibbs", "rewrite"):
        rows.append(
            (
                "Decoding of descriptions",
                f"temperature {options['description_temperature']:g}, top-p {options['description_top_p']:g}, at most "
                f"{options['max_description_length']} tokens",
            )
        )
    rows.append(("Perplexity weight in the selection", f"{options['perplexity_weight']:g}"))
    rows.append(("Trained weights", model.adapter or "all"))
    if model.quantization:
        rows.append(("Base in training", model.quantization))
    rows += list(model.training.items())
    return table(["", "value"], rows)


def _limits(model: ModelFacts, run: RunFacts | None) -> str:
    items = [
        "Passing tests is not being right: tests cover what they cover, and a model that learns from passing codes learns "
        "whatever the tests let through.",
        "Nobody has reviewed what the model writes. Read it, and run it isolated, before you rely on it.",
    ]
    if run and run.num_eval_tasks and run.rounds:
        items.append(
            f"The figures are one run with one seed on {_plural(run.num_eval_tasks, 'task')}; the intervals say how much "
            "other tasks could differ, not how much another run could."
        )
    if model.programming_language:
        items.append(f"Its seeds were {model.programming_language} only.")
    items.append(
        "Nothing beyond the figures above was checked: no other tasks, and nothing else that the base model does."
    )
    if not model.licence:
        items.append(
            "No licence is stated, because none is known of the base model. The seeds may have terms of their own."
        )
    return "\n".join(["## Limits", "", *(f"- {item}" for item in items)])
