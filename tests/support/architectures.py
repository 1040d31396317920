"""Tiny random models of many architectures, with the config classes of the installed transformers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

VOCABULARY = 304  # a little more than the tests' tokenizer, as most models have
_COMMON = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 512,
    "initializer_range": 0.3,
}
_GROUPED = {"num_key_value_heads": 2, "head_dim": 8}
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
    """

    config: str
    known: str
    options: dict[str, Any] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    text: dict[str, Any] | None = None


ARCHITECTURES = {
    "llama": Architecture("LlamaConfig", "Llama 2 and 3, SmolLM2, DeepSeek Coder", {"num_key_value_heads": 2}),
    "qwen2": Architecture("Qwen2Config", "Qwen2.5, Qwen2.5-Coder", {"num_key_value_heads": 2}),
    "qwen2-window": Architecture("Qwen2Config", "Qwen2 with use_sliding_window", {
        "num_key_value_heads": 2, "use_sliding_window": True, "max_window_layers": 1, "sliding_window": _WINDOW}),
    "qwen3": Architecture("Qwen3Config", "Qwen3", _GROUPED),
    "qwen3_moe": Architecture("Qwen3MoeConfig", "Qwen3-Coder-30B-A3B", {**_GROUPED, **_EXPERTS}),
    "gpt2": Architecture("GPT2Config", "GPT-2, CodeParrot", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 512},
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
    "gemma4_text": Architecture("Gemma4TextConfig", "Gemma 4", {
        **_GROUPED, "sliding_window": _WINDOW, "num_hidden_layers": 4, "num_kv_shared_layers": 2, "global_head_dim": 16,
        "hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": VOCABULARY,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention", "full_attention"]}),
    "mistral": Architecture("MistralConfig", "Mistral 7B, Codestral", {"num_key_value_heads": 2, "sliding_window": _WINDOW}),
    "mixtral": Architecture("MixtralConfig", "Mixtral", {
        "num_key_value_heads": 2, "num_local_experts": 4, "sliding_window": None}),
    "ministral": Architecture("MinistralConfig", "Ministral 8B", {**_GROUPED, **_MIXED}),
    "ministral3": Architecture("Ministral3Config", "Ministral 3, text part", _GROUPED),
    "phi3": Architecture("Phi3Config", "Phi-3, Phi-4-mini", {
        "num_key_value_heads": 2, "sliding_window": 4096, "original_max_position_embeddings": 256, "rope_parameters": {
            "rope_type": "longrope", "rope_theta": 10000.0, "partial_rotary_factor": 1.0, "original_max_position_embeddings": 256,
            "short_factor": [1.0] * 4, "long_factor": [2.0] * 4}}),
    "gpt_oss": Architecture("GptOssConfig", "GPT-OSS", {
        **_GROUPED, **_MIXED, "num_local_experts": 4, "num_experts_per_tok": 2}),
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
        "shared_intermediate_size": 16, "layer_types": ["linear_attention", "full_attention"]}),
    "nemotron_h": Architecture("NemotronHConfig", "Nemotron-H, Nemotron 3 Nano", {
        "num_key_value_heads": 2, "head_dim": 8, "mamba_num_heads": 4, "mamba_head_dim": 16, "ssm_state_size": 8, "n_groups": 1,
        "chunk_size": 8, "layers_block_type": ["mamba", "attention", "mlp"], "num_hidden_layers": 3,
        "time_step_min": _TIME_STEP}),
    "jamba": Architecture("JambaConfig", "Jamba", {
        "num_key_value_heads": 2, "attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2,
        "expert_layer_offset": 1, "num_experts": 4, "mamba_d_state": 8, "mamba_dt_rank": 4, "use_mamba_kernels": False}),
    "zamba2": Architecture("Zamba2Config", "Zamba2", {
        "num_key_value_heads": 4, "num_hidden_layers": 3, "layers_block_type": ["mamba", "mamba", "hybrid"], "mamba_d_state": 8,
        "mamba_headdim": 16, "mamba_ngroups": 1, "n_mamba_heads": 4, "chunk_size": 8, "num_mem_blocks": 1,
        "use_shared_attention_adapter": False, "adapter_rank": 4, "time_step_min": _TIME_STEP}),
    "mamba": Architecture("MambaConfig", "Mamba, Falcon-Mamba", {"state_size": 8, "time_step_rank": 4}),
    "mamba2": Architecture("Mamba2Config", "Mamba 2, Codestral Mamba", {
        "state_size": 8, "num_heads": 4, "head_dim": 16, "n_groups": 1, "chunk_size": 8}),
    "recurrent_gemma": Architecture("RecurrentGemmaConfig", "RecurrentGemma", {
        "num_key_value_heads": 1, "lru_width": 32, "attention_window_size": _WINDOW,
        "block_types": ["recurrent", "attention"]}),
    "minimax": Architecture("MiniMaxConfig", "MiniMax-Text-01", {**_GROUPED, **_STATES, "num_local_experts": 4, "block_size": 8}),
    "llama4_text": Architecture("Llama4TextConfig", "Llama 4", {
        **_GROUPED, "intermediate_size_mlp": 48, "num_local_experts": 4, "attention_chunk_size": 8,
        "layer_types": ["chunked_attention", "full_attention"]}),
    "bloom": Architecture("BloomConfig", "BLOOM", {"n_layer": 2, "n_head": 4}, ("intermediate_size", "num_hidden_layers",
        "num_attention_heads", "max_position_embeddings")),
    "mpt": Architecture("MptConfig", "MPT", {"d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 512}, tuple(_COMMON)),
    "rwkv": Architecture("RwkvConfig", "RWKV 4", {"attention_hidden_size": 32, "context_length": 512}, (
        "num_attention_heads", "max_position_embeddings")),
    "xlstm": Architecture("xLSTMConfig", "xLSTM", {"num_heads": 4, "embedding_dim": 32, "num_blocks": 2, "chunk_size": 8}, (
        "intermediate_size", "max_position_embeddings", "num_attention_heads")),
}  # fmt: skip


def make_config(kind: str, tokenizer: Any) -> Any:
    """The config of a tiny model."""
    import transformers

    architecture = ARCHITECTURES[kind]
    common = {name: value for name, value in _COMMON.items() if name not in architecture.without}
    special = {
        "vocab_size": VOCABULARY,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": None,
    }
    return getattr(transformers, architecture.config)(**{**common, **special, **architecture.options})


def make_architecture(kind: str, tokenizer: Any, seed: int = 0) -> Any:
    """A tiny random model."""
    import torch
    import transformers

    torch.manual_seed(seed)
    config = make_config(kind, tokenizer)
    return transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
