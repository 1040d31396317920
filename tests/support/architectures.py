"""Tiny random models of many architectures: which engine serves each, and whether its samples are those of plain passes.

    python -m tests.support.architectures      measures all and writes the table of docs/architectures.md

The config classes are those of the installed transformers, the weights are random, the tokenizer is that of the tests.
"""

from __future__ import annotations

import copy
import math
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "architectures.md"
_BEGIN, _END = "<!-- the table begins -->", "<!-- the table ends -->"
VOCABULARY = 304  # a little more than the tests' tokenizer, as most models have
_COMMON = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 1024,
    "initializer_range": 0.3,
}
_GROUPED = {"num_key_value_heads": 2, "head_dim": 8}
_NO_ATTENTION = ("intermediate_size", "num_attention_heads", "max_position_embeddings")
_WINDOW = 8
_MIXED = {"sliding_window": _WINDOW, "layer_types": ["sliding_attention", "full_attention"]}
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "decoder_sparse_step": 1}
_MAMBA2 = {"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8, "mamba_n_groups": 1, "mamba_chunk_size": 8}
_DELTA = {
    "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8, "linear_value_head_dim": 8,
    "linear_conv_kernel_dim": 4,
}  # fmt: skip
# transformers raises shorter time steps to this in a pass over many tokens, and not in one over a single token.
_TIME_STEP = 1e-9
_TOWER = {
    "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 16,
    "patch_size": 8,
}  # fmt: skip
_MARKS = {"image_token_index": 300, "boi_token_index": 301, "eoi_token_index": 302}
_GEMMA4 = {
    **_GROUPED, "sliding_window": _WINDOW, "num_hidden_layers": 4, "num_kv_shared_layers": 2, "global_head_dim": 16,
    "hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": VOCABULARY,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention", "full_attention"],
}  # fmt: skip
_YARN = {
    "rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 256,
    "llama_4_scaling_beta": 0.1,
}  # fmt: skip
_STATES = {"layer_types": ["linear_attention", "full_attention"]}


@dataclass(frozen=True)
class Architecture:
    """A kind of model.

    Attributes:
        config: Name of its config class.
        known: Models that have it.
        options: Of the config, besides `_COMMON`.
        without: Names of `_COMMON` that the config does not have.
        text: Options of the text config of a multimodal checkpoint; None for a model of text alone.
        training: Options of a run.
    """

    config: str
    known: str
    options: dict[str, Any] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    text: dict[str, Any] | None = None
    training: dict[str, Any] = field(default_factory=dict)


ARCHITECTURES = {
    "llama": Architecture("LlamaConfig", "Llama 2 and 3, SmolLM2, DeepSeek Coder", {"num_key_value_heads": 2}),
    "qwen2": Architecture("Qwen2Config", "Qwen2.5, Qwen2.5-Coder", {"num_key_value_heads": 2}),
    "qwen2-window": Architecture("Qwen2Config", "Qwen2 with use_sliding_window", {
        "num_key_value_heads": 2, "use_sliding_window": True, "max_window_layers": 1, "sliding_window": _WINDOW}),
    "qwen3": Architecture("Qwen3Config", "Qwen3", _GROUPED),
    "qwen3_moe": Architecture("Qwen3MoeConfig", "Qwen3-Coder-30B-A3B", {**_GROUPED, **_EXPERTS}),
    "gpt2": Architecture("GPT2Config", "GPT-2, CodeParrot", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 1024},
        tuple(_COMMON)),
    "gpt_neox": Architecture("GPTNeoXConfig", "Pythia, StableCode"),
    "opt": Architecture("OPTConfig", "OPT", {"ffn_dim": 48, "word_embed_proj_dim": 32}),
    "starcoder2": Architecture("Starcoder2Config", "StarCoder2", {"num_key_value_heads": 2, "sliding_window": _WINDOW}),
    "stablelm": Architecture("StableLmConfig", "StableLM 2", {"num_key_value_heads": 2}),
    "granite": Architecture("GraniteConfig", "Granite 3", {"num_key_value_heads": 2}),
    "gemma": Architecture("GemmaConfig", "Gemma, CodeGemma", _GROUPED),
    "gemma2": Architecture("Gemma2Config", "Gemma 2", {**_GROUPED, "sliding_window": _WINDOW}),
    "gemma3_text": Architecture("Gemma3TextConfig", "Gemma 3 270M and 1B", {**_GROUPED, **_MIXED}),
    "gemma3n_text": Architecture("Gemma3nTextConfig", "Gemma 3n", {
        **_GROUPED, "sliding_window": _WINDOW, "num_hidden_layers": 4, "num_kv_shared_layers": 2, "hidden_size_per_layer_input": 8,
        "vocab_size_per_layer_input": VOCABULARY, "laurel_rank": 4, "altup_num_inputs": 2, "intermediate_size": [48] * 4,
        "activation_sparsity_pattern": [0.0] * 4,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention", "full_attention"]}),
    "gemma4_text": Architecture("Gemma4TextConfig", "Gemma 4, text part", _GEMMA4),
    "mistral": Architecture("MistralConfig", "Mistral 7B, Codestral", {"num_key_value_heads": 2, "sliding_window": _WINDOW}),
    "mixtral": Architecture("MixtralConfig", "Mixtral", {
        "num_key_value_heads": 2, "num_local_experts": 4, "sliding_window": None}),
    "ministral": Architecture("MinistralConfig", "Ministral 8B", {**_GROUPED, **_MIXED}),
    "ministral3": Architecture("Ministral3Config", "Ministral 3, text part", {**_GROUPED, "rope_parameters": _YARN}),
    "phi3": Architecture("Phi3Config", "Phi-3, Phi-4-mini", {
        "num_key_value_heads": 2, "sliding_window": 4096, "original_max_position_embeddings": 256, "rope_parameters": {
            "rope_type": "longrope", "rope_theta": 10000.0, "partial_rotary_factor": 1.0, "original_max_position_embeddings": 256,
            "short_factor": [1.0] * 4, "long_factor": [2.0] * 4}}),
    "gpt_oss": Architecture("GptOssConfig", "GPT-OSS", {
        **_GROUPED, **_MIXED, "num_local_experts": 4, "num_experts_per_tok": 2, "rope_parameters": {
            "rope_type": "default", "rope_theta": 10000.0}}),
    "olmo3": Architecture("Olmo3Config", "Olmo 3", {"num_key_value_heads": 2, **_MIXED}),
    "smollm3": Architecture("SmolLM3Config", "SmolLM3", {
        "num_key_value_heads": 2, "no_rope_layers": [1, 0], "use_sliding_window": False}),
    "cohere2": Architecture("Cohere2Config", "Command R7B", {"num_key_value_heads": 2, **_MIXED}),
    "exaone4": Architecture("Exaone4Config", "EXAONE 4", {"num_key_value_heads": 2, **_MIXED}),
    "glm4": Architecture("Glm4Config", "GLM-4", _GROUPED),
    "deepseek_v3": Architecture("DeepseekV3Config", "DeepSeek V3, Kimi K2", {
        "num_key_value_heads": 4, "kv_lora_rank": 8, "q_lora_rank": 8, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8,
        "v_head_dim": 8, "n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "n_group": 1,
        "topk_group": 1, "first_k_dense_replace": 1}),
    "qwen3_next": Architecture("Qwen3NextConfig", "Qwen3-Next, Qwen3-Coder-Next", {
        **_GROUPED, **_STATES, **_DELTA, **_EXPERTS, "shared_expert_intermediate_size": 16}),
    "qwen3_5_text": Architecture("Qwen3_5TextConfig", "Qwen3.5, text part", {**_GROUPED, **_STATES, **_DELTA}),
    "kimi_linear": Architecture("KimiLinearConfig", "Kimi Linear", {
        **_STATES, "num_key_value_heads": 4, "kv_lora_rank": 8, "q_lora_rank": None, "qk_rope_head_dim": 8,
        "qk_nope_head_dim": 8, "v_head_dim": 8, "num_experts": 4, "num_experts_per_token": 2, "moe_intermediate_size": 16,
        "head_dim": 8, "first_k_dense_replace": 1, "linear_attn_config": {
            "num_heads": 2, "head_dim": 8, "short_conv_kernel_size": 4, "kda_layers": [1], "full_attn_layers": [2]}}),
    "olmo_hybrid": Architecture("OlmoHybridConfig", "Olmo Hybrid", {"num_key_value_heads": 4, **_STATES, **_DELTA}),
    "lfm2": Architecture("Lfm2Config", "LFM2", {"num_key_value_heads": 2, "layer_types": ["conv", "full_attention"]}),
    "lfm2_moe": Architecture("Lfm2MoeConfig", "LFM2-8B-A1B", {
        "num_key_value_heads": 2, "layer_types": ["conv", "full_attention"], "num_experts": 4, "num_experts_per_tok": 2,
        "moe_intermediate_size": 16, "num_dense_layers": 1}),
    "falcon_h1": Architecture("FalconH1Config", "Falcon-H1", {
        "num_key_value_heads": 2, **_MAMBA2, "mamba_d_ssm": 64, "mamba_expand": 2}),
    "bamba": Architecture("BambaConfig", "Bamba", {
        "num_key_value_heads": 2, **_MAMBA2, "attn_layer_indices": [1], "mamba_expand": 2}),
    "granitemoehybrid": Architecture("GraniteMoeHybridConfig", "Granite 4", {
        "num_key_value_heads": 2, **_MAMBA2, "mamba_expand": 2, "num_local_experts": 4, "num_experts_per_tok": 2,
        "shared_intermediate_size": 16, "layer_types": ["linear_attention", "full_attention"]}, training={"router_aux_loss_coef": 0.0}),
    "nemotron_h": Architecture("NemotronHConfig", "Nemotron-H, Nemotron 3 Nano", {
        "num_key_value_heads": 2, "head_dim": 8, "mamba_num_heads": 4, "mamba_head_dim": 16, "ssm_state_size": 8, "n_groups": 1,
        "chunk_size": 8, "layers_block_type": ["mamba", "attention", "mlp"], "num_hidden_layers": 3,
        "time_step_min": _TIME_STEP}),
    "jamba": Architecture("JambaConfig", "Jamba", {
        "num_key_value_heads": 2, "attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2,
        "expert_layer_offset": 1, "num_experts": 4, "mamba_d_state": 8, "mamba_dt_rank": 4}),
    "zamba2": Architecture("Zamba2Config", "Zamba2", {
        "num_key_value_heads": 4, "num_hidden_layers": 3, "layers_block_type": ["mamba", "mamba", "hybrid"], "mamba_d_state": 8,
        "mamba_headdim": 16, "mamba_ngroups": 1, "n_mamba_heads": 4, "chunk_size": 8, "num_mem_blocks": 1,
        "use_shared_attention_adapter": False, "adapter_rank": 4, "time_step_min": _TIME_STEP}),
    "mamba": Architecture("MambaConfig", "Mamba, Falcon-Mamba", {"state_size": 8, "time_step_rank": 4}, _NO_ATTENTION),
    "mamba2": Architecture("Mamba2Config", "Mamba 2, Codestral Mamba", {
        "state_size": 8, "num_heads": 4, "head_dim": 16, "n_groups": 1, "chunk_size": 8}, _NO_ATTENTION),
    "recurrent_gemma": Architecture("RecurrentGemmaConfig", "RecurrentGemma", {
        "num_key_value_heads": 1, "lru_width": 32, "attention_window_size": _WINDOW,
        "block_types": ["recurrent", "attention"]}),
    "minimax": Architecture("MiniMaxConfig", "MiniMax-Text-01", {**_GROUPED, **_STATES, "num_local_experts": 4, "block_size": 8}),
    "bloom": Architecture("BloomConfig", "BLOOM", {"n_layer": 2, "n_head": 4}, ("intermediate_size", "num_hidden_layers",
        "num_attention_heads", "max_position_embeddings")),
    "mpt": Architecture("MptConfig", "MPT", {"d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 1024}, tuple(_COMMON)),
    "gemma3": Architecture("Gemma3Config", "Gemma 3 4B to 27B", {"vision_config": _TOWER, "mm_tokens_per_image": 4, **_MARKS},
        text={**_GROUPED, **_MIXED}),
    "gemma4": Architecture("Gemma4Config", "Gemma 4 E2B and E4B", {
        "vision_config": {**_TOWER, "head_dim": 8, "num_key_value_heads": 2}, "audio_config": None, "image_token_id": 300,
        "boi_token_id": 301, "eoi_token_id": 302, "video_token_id": 299}, text=_GEMMA4),
    "qwen3_5": Architecture("Qwen3_5Config", "Qwen3.5", {
        "vision_config": {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 32,
            "patch_size": 8, "num_position_embeddings": 16},
        "image_token_id": 300, "video_token_id": 301, "vision_start_token_id": 302, "vision_end_token_id": 303},
        text={**_GROUPED, **_STATES, **_DELTA}),
    "mistral3": Architecture("Mistral3Config", "Ministral 3, Mistral Small 3.1", {
        "vision_config": {"model_type": "pixtral", **_TOWER, "head_dim": 8}, "image_token_index": 300},
        text={"model_type": "ministral3", **_GROUPED, "rope_parameters": _YARN}),
}  # fmt: skip


def make_config(kind: str, tokenizer: Any) -> Any:
    """The config of a tiny model."""
    import transformers

    architecture = ARCHITECTURES[kind]
    sizes = {name: value for name, value in _COMMON.items() if name not in architecture.without}
    sizes |= {
        "vocab_size": VOCABULARY,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": None,
    }
    made = getattr(transformers, architecture.config)
    if architecture.text is None:
        return made(**{**sizes, **copy.deepcopy(architecture.options)})
    return made(text_config={**sizes, **copy.deepcopy(architecture.text)}, **copy.deepcopy(architecture.options))


def make_architecture(kind: str, tokenizer: Any, seed: int = 0) -> Any:
    """A tiny random model."""
    import torch
    import transformers

    torch.manual_seed(seed)
    text_alone = ARCHITECTURES[kind].text is None
    auto = transformers.AutoModelForCausalLM if text_alone else transformers.AutoModelForImageTextToText
    return auto.from_config(make_config(kind, tokenizer), dtype=torch.float32).eval()


PROMPTS = [
    "def solve(xs):\n",
    "x",
    "### Code\nreturn total\n### Description\n",
    "Drop the negative numbers, double the",
    "x =",
]


def requests_of(tokenizer: Any, temperature: float, count: int = 14) -> list[Any]:
    """Prompts of unlike lengths, longer and shorter than a window, two completions each."""
    from trl_gift.generation import GenerationRequest, SamplingParams

    params = SamplingParams(count, temperature=temperature, top_p=0.95)
    return [
        GenerationRequest(place, tuple(tokenizer(text)["input_ids"]), params, (10 * place, 10 * place + 1))
        for place, text in enumerate(PROMPTS)
    ]


def plain_completion(model: Any, request: Any, key: int, end: int) -> tuple[tuple[int, ...], list[float]]:
    """Tokens and log-probabilities by one whole forward pass for each token: no cache, no padding, no mask, no batch."""
    import torch

    from trl_gift.common.randomness import uniforms
    from trl_gift.generation import draw_tokens

    ids, logprobs = list(request.prompt_ids), []
    for number in uniforms(key, request.params.max_new_tokens):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[:, -1]
        draws = draw_tokens(logits, torch.tensor([[number]], dtype=torch.float64), request.params)
        ids.append(int(draws.tokens))
        logprobs.append(float(draws.logprobs))
        if ids[-1] == end:
            break
    return tuple(ids[len(request.prompt_ids) :]), logprobs


def differences(engine: Any, model: Any, tokenizer: Any, temperature: float) -> tuple[int, float]:
    """How many completions differ from plain passes, and how far log-probabilities of the others are apart at most."""
    from tests.support.generation import run

    requests = requests_of(tokenizer, temperature)
    results = run(engine, requests)
    others, apart = 0, 0.0
    for request in requests:
        for key, completion in zip(request.stream_keys, results[request.key], strict=True):
            tokens, logprobs = plain_completion(model, request, key, tokenizer.eos_token_id)
            if completion.token_ids != tokens:
                others += 1
                continue
            apart = max(apart, *(abs(a - b) for a, b in zip(completion.logprobs, logprobs, strict=True)))
    return others, apart


def train_lora(kind: str, model: Any, tokenizer: Any, folder: Path, sandbox: Any) -> Any:
    """One round of one step that trains an adapter on every linear layer; returns the trainer."""
    import torch
    from peft import LoraConfig

    from trl_gift.config import GiFTConfig
    from trl_gift.playground import playground_tasks
    from trl_gift.trainer import GiFTTrainer

    config = GiFTConfig(
        str(folder), num_steps=1, num_generations=1, max_completion_length=8, max_description_length=8, max_steps=1,
        per_device_train_batch_size=2, use_cpu=True, bf16=False, gradient_checkpointing=False, report_to="none",
        disable_tqdm=True, save_strategy="no", **ARCHITECTURES[kind].training,
    )  # fmt: skip
    lora = LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM")
    tasks = playground_tasks("train", 2, with_reference=True)
    trainer = GiFTTrainer(model, config, tasks, processing_class=tokenizer, peft_config=lora, sandbox=sandbox)
    before = {name: value.detach().clone() for name, value in trainer.model.named_parameters() if value.requires_grad}
    output = trainer.train()
    after = dict(trainer.model.named_parameters())
    assert output.global_step == 1
    assert math.isfinite(output.training_loss)
    assert before
    assert all("lora_" in name for name in before)
    assert any(not torch.equal(value, after[name]) for name, value in before.items())
    return trainer


def served_by(kind: str, tokenizer: Any) -> tuple[str, str]:
    """The engine that serves a kind, and in words what its layers keep or why `compact` does not serve it."""
    from trl_gift.generation import choose_engine
    from trl_gift.generation.compact.layers import decoder_of, refusal

    model = make_architecture(kind, tokenizer)
    chosen = choose_engine("auto", model)
    if chosen.name == "generate":
        return chosen.name, refusal(model)
    layers = decoder_of(model).layers
    full = any(layer.attends and layer.window is None for layer in layers)
    kept = {"full attention": full, "sliding windows": any(layer.window for layer in layers),
            "states": any(layer.recurs for layer in layers)}  # fmt: skip
    return chosen.name, ", ".join(name for name, is_kept in kept.items() if is_kept)


def row_of(kind: str, tokenizer: Any, sandbox: Any) -> str:
    """The line of the table for a kind, measured."""
    from trl_gift.generation import GenerateEngine
    from trl_gift.generation.compact import CompactEngine

    engine, remark = served_by(kind, tokenizer)
    model = make_architecture(kind, tokenizer)
    make = {"compact": CompactEngine, "generate": GenerateEngine}[engine]
    found = {}
    for temperature in (0.0, 1.0):
        others, apart = differences(make(model, tokenizer, batch_size=4), model, tokenizer, temperature)
        found[temperature] = "equal" if not others and apart < 1e-3 else f"{others} of {2 * len(PROMPTS)} differ"
    with tempfile.TemporaryDirectory() as folder:
        train_lora(kind, model, tokenizer, Path(folder) / "out", sandbox)
    return line_of(kind, engine, remark, found[0.0], found[1.0])


def line_of(kind: str, engine: str, remark: str, greedy: str, sampled: str) -> str:
    """A line of the table."""
    architecture = ARCHITECTURES[kind]
    return f"| `{kind}` | {architecture.known} | {remark} | `{engine}` | {greedy} | {sampled} | yes |"


def table_of(page: str) -> list[str]:
    """The lines of the table on the page."""
    return page.partition(_BEGIN)[2].partition(_END)[0].strip().splitlines()[2:]


def write_page(lines: list[str]) -> None:
    """Replaces the table on the page."""
    page = PAGE.read_text(encoding="utf-8")
    head = (
        "| kind | such as | layers, or why not `compact` | engine | greedy | seeded draws | LoRA round |\n"
        "| --- | --- | --- | --- | --- | --- | --- |"
    )
    before, after = page.partition(_BEGIN)[0], page.partition(_END)[2]
    PAGE.write_text(f"{before}{_BEGIN}\n\n{head}\n" + "\n".join(lines) + f"\n\n{_END}{after}", encoding="utf-8")


def main() -> None:
    """Measures all kinds and writes the table."""
    import torch

    from tests.support.tokenizer_kinds import small_tokenizer
    from trl_gift.sandbox import LocalSandbox

    torch.set_num_threads(1)
    tokenizer = small_tokenizer()
    with LocalSandbox(num_workers=1) as sandbox:
        lines = []
        for kind in ARCHITECTURES:
            lines.append(row_of(kind, tokenizer, sandbox))
            print(lines[-1], flush=True)
    write_page(lines)


if __name__ == "__main__":
    main()
