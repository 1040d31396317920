"""Tiny random models, made on the spot: nothing is downloaded."""

from __future__ import annotations

# Kinds of `make_model` besides gpt2: the config's class, and what is said besides the sizes that all have.
MODELS = {
    "llama": ("LlamaConfig", {"num_key_value_heads": 2}),
    "qwen2": ("Qwen2Config", {"num_key_value_heads": 2}),
    "qwen3": ("Qwen3Config", {"num_key_value_heads": 2, "head_dim": 8}),
    "gpt_neox": ("GPTNeoXConfig", {}),
    "gemma": ("GemmaConfig", {"num_key_value_heads": 1, "head_dim": 8}),
    "gemma2": ("Gemma2Config", {"num_key_value_heads": 2, "head_dim": 8, "sliding_window": 8}),
    "gemma3": ("Gemma3TextConfig", {"num_key_value_heads": 2, "head_dim": 8, "sliding_window": 8, "layer_types": [
        "sliding_attention", "full_attention"]}),
    "mistral": ("MistralConfig", {"num_key_value_heads": 2, "sliding_window": 8}),
}  # fmt: skip


def make_model(tokenizer, kind="llama", seed=0, end_bias=0.0):
    """A tiny random causal model; `end_bias` makes its completions shorter."""
    import torch
    import transformers

    torch.manual_seed(seed)
    common = {
        "vocab_size": len(tokenizer),
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": None,
    }
    if kind == "gpt2":
        config = transformers.GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=512, **common)
    else:
        config_class, own = MODELS[kind]
        config = getattr(transformers, config_class)(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=1024,
            initializer_range=0.3,
            **{**common, **own},
        )
    model = transformers.AutoModelForCausalLM.from_config(config)
    if end_bias:
        # Shift the logit of the end token through a bias of the output layer.
        head = model.get_output_embeddings()
        head.bias = torch.nn.Parameter(torch.zeros(len(tokenizer)))
        head.bias.data[tokenizer.eos_token_id] = end_bias
    return model.eval()
