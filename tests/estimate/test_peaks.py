"""Predicted peaks against the tensors that a whole round really allocates on a CPU, by torch's memory profiler.

Each case is a process of its own: the profiler's count starts at zero only there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent.parent
MODEL = {
    "vocab_size": 1024, "hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 6,
    "num_attention_heads": 8, "num_key_value_heads": 4, "bos_token_id": None, "eos_token_id": 0, "pad_token_id": 1,
}  # fmt: skip
LENGTH, BATCH = 192, 4


def measure(folder: Path, lora: bool, checkpointing: bool, dtype: str, bf16: bool) -> None:
    """Prints the measured and the predicted peak of a round's training."""
    import torch
    from peft import LoraConfig
    from torch.profiler import ProfilerActivity, profile
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

    from trl_gift.config import GiFTConfig
    from trl_gift.estimate import Device, estimate_run
    from trl_gift.playground import model_path, playground_tasks
    from trl_gift.trainer import GiFTTrainer
    from trl_gift.training.pairs import TrainingPair, TrainingPairs

    torch.set_num_threads(1)
    args = GiFTConfig(
        str(folder / "out"), use_cpu=True, bf16=bf16, gradient_checkpointing=checkpointing, report_to="none",
        max_length=LENGTH, per_device_train_batch_size=BATCH, max_steps=2, save_strategy="no", disable_tqdm=True,
        logging_strategy="no",
    )  # fmt: skip
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        model = AutoModelForCausalLM.from_config(LlamaConfig(**MODEL), dtype=getattr(torch, dtype))
        trainer = GiFTTrainer(
            model=model, args=args, train_dataset=playground_tasks("train", 4, with_reference=True),
            processing_class=AutoTokenizer.from_pretrained(model_path()),
            peft_config=LoraConfig(r=16, target_modules="all-linear") if lora else None,
        )  # fmt: skip
        trainer.remember_base_weights()
        pairs = [TrainingPair([5] * LENGTH, [-100] * 20 + [5] * (LENGTH - 20))] * (2 * BATCH)
        trainer.train_round(1, TrainingPairs(pairs, 0, len(pairs), 0, 0), None)
    trace = folder / "trace.json"
    profiler.export_chrome_trace(str(trace))
    events = json.loads(trace.read_text())["traceEvents"]
    measured = max(event["args"]["Total Allocated"] for event in events if event.get("name") == "[memory]")
    predicted = estimate_run(trainer, Device("CPU", "cpu", 1e12)).training_memory.peak
    print(json.dumps({"measured": measured, "predicted": predicted}))


CASES = [
    (False, False, "float32", False),
    (False, True, "float32", False),
    (False, False, "float32", True),
    (True, True, "bfloat16", False),
    (True, False, "bfloat16", True),
    (True, True, "float32", True),
]


@pytest.mark.slow
@pytest.mark.parametrize(("lora", "checkpointing", "dtype", "bf16"), CASES)
def test_peak_of_training_is_met_within_a_tenth(tmp_path, lora, checkpointing, dtype, bf16):
    process = subprocess.run(
        [sys.executable, "-W", "ignore", __file__, str(tmp_path), json.dumps([lora, checkpointing, dtype, bf16])],
        capture_output=True, text=True, timeout=300, check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip
    assert process.returncode == 0, process.stderr[-3000:]
    figures = json.loads(process.stdout.strip().splitlines()[-1])
    assert figures["predicted"] == pytest.approx(figures["measured"], rel=0.1)


if __name__ == "__main__":
    measure(Path(sys.argv[1]), *json.loads(sys.argv[2]))
