"""Predicted peaks against a CPU: by torch's memory profiler, and of sampling by `compact` by the memory of the process.

The profiler would count columns of `compact`'s cache that are never written and take no memory. Each case is a
process of its own, because counts begin at zero only there. The bound is `UNCERTAINTY`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent.parent
SMALL = {
    "vocab_size": 1024, "hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 6,
    "num_attention_heads": 8, "num_key_value_heads": 4, "bos_token_id": None, "eos_token_id": 0, "pad_token_id": 1,
}  # fmt: skip
# A vocabulary of a real model's size, where logits are most of the memory.
WORDY = {**SMALL, "vocab_size": 32768, "num_hidden_layers": 4}
LENGTH, BATCH = 192, 4


def measure(folder: Path, options: dict) -> None:
    """Prints the measured and the predicted peak of a round's training or sampling."""
    import torch
    from peft import LoraConfig
    from torch.profiler import ProfilerActivity, profile
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

    from trl_gift.config import GiFTConfig
    from trl_gift.estimate import Device, estimate_run
    from trl_gift.playground import model_path, playground_tasks
    from trl_gift.trainer import GiFTTrainer

    torch.set_num_threads(1)
    args = GiFTConfig(
        str(folder / "out"), use_cpu=True, report_to="none", max_length=LENGTH, per_device_train_batch_size=BATCH,
        max_steps=2, save_strategy="no", disable_tqdm=True, logging_strategy="no", num_description_examples=0,
        max_completion_length=LENGTH if options["stage"] == "training" else 96, max_description_length=64, **options["config"],
    )  # fmt: skip

    def made(model, tasks):
        return GiFTTrainer(
            model=model, args=args, train_dataset=playground_tasks("train", tasks, with_reference=True),
            processing_class=AutoTokenizer.from_pretrained(model_path()),
            peft_config=LoraConfig(r=16, target_modules="all-linear") if options["lora"] else None,
        )  # fmt: skip

    is_training = options["stage"] == "training"
    counts_tensors = is_training or args.generation_engine == "generate"
    if not counts_tensors:
        sample(made(AutoModelForCausalLM.from_pretrained(model_path()), 1))  # loads what any run loads
    counting = profile(activities=[ProfilerActivity.CPU], profile_memory=True) if counts_tensors else nullcontext()
    before = memory_of_process("VmRSS")
    with counting as profiler:
        if options["model"] == "playground":
            model = AutoModelForCausalLM.from_pretrained(model_path())
        else:
            shape = {"small": SMALL, "wordy": WORDY}[options["model"]]
            torch.manual_seed(0)
            model = AutoModelForCausalLM.from_config(LlamaConfig(**shape), dtype=getattr(torch, options["dtype"]))
        if options["stage"] == "sampling":
            # No completion ends before its length: the estimate is the most there can be.
            head = model.get_output_embeddings()
            head.bias = torch.nn.Parameter(torch.zeros(head.weight.shape[0], dtype=model.dtype))
            head.bias.data[model.config.eos_token_id] = -1e4
        trainer = made(model, options["tasks"])
        trainer.remember_base_weights()
        (train if is_training else sample)(trainer)
    if counts_tensors:
        trace = folder / "trace.json"
        profiler.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text())["traceEvents"]
        measured = max(event["args"]["Total Allocated"] for event in events if event.get("name") == "[memory]")
    else:
        measured = memory_of_process("VmHWM") - before
    estimate = estimate_run(trainer, Device("CPU", "cpu", 1e12))
    stage = estimate.training_memory if options["stage"] == "training" else estimate.sampling_memory
    print(json.dumps({"measured": measured, "predicted": stage.peak, "items": stage.items}))


def memory_of_process(name: str) -> int:
    """Bytes of this process: now (`VmRSS`) or at most so far (`VmHWM`)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def train(trainer) -> None:
    from trl_gift.training.pairs import TrainingPair, TrainingPairs

    pairs = [TrainingPair([5] * LENGTH, [-100] * 20 + [5] * (LENGTH - 20))] * (2 * BATCH)
    trainer.train_round(1, TrainingPairs(pairs, 0, len(pairs), 0, 0), None)


def sample(trainer) -> None:
    """Samples for the longest prompts that the estimate counts, all completions to their end."""
    from trl_gift.generation import GenerationRequest, SamplingParams

    config = trainer.args
    params = SamplingParams(max_new_tokens=config.max_completion_length, top_p=0.95)
    with trainer.rollouts.engine() as engine:
        for place, task in enumerate(trainer.tasks):
            ids = trainer.prompts.write(task, task.description).ids
            keys = tuple((place, index) for index in range(config.num_generations))
            engine.submit(GenerationRequest(("write", task.task_id), ids, params, keys))
        while engine.pending:
            engine.step()


def case(stage, model="small", lora=False, dtype="float32", tasks=4, **config):
    config = {"bf16": False, "gradient_checkpointing": False, **config}
    if stage == "sampling":
        config |= {"sampler": "conditional", "top_p": 0.95}
    return {"stage": stage, "model": model, "lora": lora, "dtype": dtype, "tasks": tasks, "config": config}


CASES = {
    "full, float32": case("training"),
    "full, float32, gradient checkpointing": case("training", gradient_checkpointing=True),
    "full, float32, autocast": case("training", bf16=True),
    "full, bfloat16": case("training", dtype="bfloat16"),
    "LoRA, float32": case("training", lora=True),
    "LoRA, bfloat16, gradient checkpointing": case("training", lora=True, dtype="bfloat16", gradient_checkpointing=True),
    "LoRA, bfloat16, autocast": case("training", lora=True, dtype="bfloat16", bf16=True),
    "LoRA, float32, autocast, gradient checkpointing": case(
        "training", lora=True, bf16=True, gradient_checkpointing=True
    ),
    "full, float32, vocabulary of 32,768": case("training", model="wordy"),
    "full, float32, playground model": case("training", model="playground"),
    "sampling, playground model": case("sampling", model="playground", tasks=32, engine_batch_size=96),
    "sampling, 48 rows": case("sampling", tasks=16, engine_batch_size=48),
    "sampling, 48 rows, vocabulary of 32,768": case("sampling", model="wordy", tasks=16, engine_batch_size=48),
    "sampling, 48 rows, bfloat16, generate": case(
        "sampling", dtype="bfloat16", tasks=48, num_generations=1, engine_batch_size=48, generation_engine="generate"
    ),
}  # fmt: skip


def figures(folder: Path, options: dict) -> dict:
    process = subprocess.run(
        [sys.executable, "-W", "ignore", __file__, str(folder), json.dumps(options)],
        capture_output=True, text=True, timeout=1800, check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip
    assert process.returncode == 0, process.stderr[-3000:]
    return json.loads(process.stdout.strip().splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_peaks_are_off_by_no_more_than_stated(tmp_path, name):
    from trl_gift.estimate import UNCERTAINTY

    found = figures(tmp_path, CASES[name])
    print(f"{name}: predicted / measured = {found['predicted'] / found['measured']:.2f}")
    assert found["predicted"] == pytest.approx(found["measured"], rel=UNCERTAINTY), found


if __name__ == "__main__":
    measure(Path(sys.argv[1]), json.loads(sys.argv[2]))
