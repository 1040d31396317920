"""Trains and pushes as a user's script does, once for each case; prints one JSON object of what it saw.

    python -m tests.hub.pushing CASES.json

A process of its own, because the Hub's address and token are read when its client is imported.
"""

from __future__ import annotations

import gc
import json
import re
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import torch
from datasets import load_dataset
from peft import LoraConfig, PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from trl_gift import GiFTConfig, GiFTTrainer
from trl_gift.errors import UserError
from trl_gift.hub import dataset_origin
from trl_gift.playground import playground_tasks
from trl_gift.sandbox import LocalSandbox

OPTIONS = {
    "num_steps": 2,
    "num_generations": 2,
    "num_selected": 2,
    "max_completion_length": 60,
    "max_description_length": 40,
    "num_description_examples": 0,
    "per_device_train_batch_size": 4,
    "learning_rate": 1e-3,
    "num_train_epochs": 1,
    "save_steps": 2,
    "seed": 5,
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "report_to": "none",
    "disable_tqdm": True,
    "hub_always_push": True,  # no save is skipped because the one before is still on its way
}


def logits(model, tokenizer):
    inputs = tokenizer("def solve(ws):\n", return_tensors="pt")
    with torch.no_grad():
        return model.eval()(**inputs).logits


def run(case, sandbox):
    try:
        return train_and_push(case, sandbox)
    except UserError as error:
        return {"error": str(error)}


def train_and_push(case, sandbox):
    options = OPTIONS | case["options"]
    trainer = GiFTTrainer(
        model=case["model"],
        args=GiFTConfig(**options),
        train_dataset=playground_tasks("train", 4, with_reference=True),
        eval_dataset=playground_tasks("validation", 3) if case.get("measure", True) else None,
        peft_config=LoraConfig(r=4, target_modules="all-linear") if case["lora"] else None,
        sandbox=sandbox,
    )
    private = Path(options["output_dir"])
    (private / "runs").mkdir(parents=True, exist_ok=True)
    (private / "runs" / "events.out.tfevents.1.host").write_text("the user's own")
    (private / "notes.txt").write_text("the user's own")
    trainer.train()
    if case.get("push", True):
        trainer.push_to_hub(dataset_name=case.get("dataset"), tags="given")
    repo = trainer.hub_model_id
    left = [str(path) for path in (private / "_gift" / "upload").rglob("*")]
    seen = {"repo": repo, "samples_repo": trainer.repositories.samples, "left": left}
    if case.get("load"):
        tokenizer = AutoTokenizer.from_pretrained(repo)
        if case["lora"]:
            loaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(case["model"]), repo)
        else:
            loaded = AutoModelForCausalLM.from_pretrained(repo)
        trained = trainer.accelerator.unwrap_model(trainer.model)
        with trainer.own_precision():
            seen["difference"] = float((logits(loaded, tokenizer) - logits(trained, tokenizer)).abs().max())
        card = (private / "README.md").read_text(encoding="utf-8")
        printed = StringIO()
        with redirect_stdout(printed):
            exec(re.search(r"```python\n(.*?)```", card, flags=re.DOTALL)[1], {})
        seen["printed"] = printed.getvalue()
    if trainer.repositories.samples:
        samples = load_dataset(trainer.repositories.samples, split="train")
        selection = load_dataset(trainer.repositories.samples, "selection", split="train")
        seen |= {
            "origin": dataset_origin(samples),
            "columns": samples.column_names,
            "samples": samples.to_list(),
            "selection": selection.to_list(),
        }
    return seen


def main():
    torch.set_num_threads(1)
    gc.freeze()  # each training collects garbage
    with LocalSandbox(num_workers=1) as sandbox:
        results = [run(case, sandbox) for case in json.loads(Path(sys.argv[1]).read_text())]
    if torch.distributed.is_initialized():
        main_process = torch.distributed.get_rank() == 0
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
    else:
        main_process = True
    if main_process:
        print(json.dumps(results))


if __name__ == "__main__":
    main()
