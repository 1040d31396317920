"""A model's evaluations, kept for later runs that would measure the very same: a base model is measured once for many runs.

The key is a hash of all that a measurement depends on: the weights and the configs that give them their meaning, the token ids
of every prompt, the tests, how completions are drawn and stopped, what a program may use, the engine, and the versions of
Python, of this package and of the libraries. A fresh adapter, which changes nothing yet, counts as none. References are in no
prompt of an evaluation, apart from their imports where these are pinned, and in no verdict.

Each measurement is a file of its own, `$TRL_GIFT_CACHE/evaluations/KEY.json`; without that variable the folder is
`trl_gift` in the cache of Hugging Face. The files may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from trl_gift import __version__
from trl_gift.common.files import write_json
from trl_gift.evaluation.attempts import Attempt, Evaluation, EvaluationSettings
from trl_gift.evaluation.rollouts import evaluate_rollouts
from trl_gift.generation import end_ids
from trl_gift.sampling.rollouts import Rollouts
from trl_gift.tasks import Task

_LIBRARIES = ("torch", "transformers", "peft", "tokenizers")
# What a config says of where the weights come from, and not of what they do.
_SAYS_NOTHING = ("_name_or_path", "transformers_version")
_ADAPTER_PART = re.compile(r"\.(lora_|ia3_|modules_to_save|vera_|oft_|adaption_|trainable_tokens)")
_SCHEMA_VERSION = 5
_SAVED_MODULE = re.compile(r"\.modules_to_save\.[^.]+\.")


@dataclass(frozen=True, slots=True)
class CachedEvaluation:
    """A measurement of an earlier run.

    Attributes:
        evaluation: What was measured.
        measured: When, in seconds since the epoch.
    """

    evaluation: Evaluation
    measured: float


def evaluate_once(
    rollouts: Rollouts, tasks: Sequence[Task], settings: EvaluationSettings, heading: str
) -> tuple[Evaluation, float | None]:
    """As `evaluate_rollouts`, unless an earlier run has measured the same.

    Returns:
        The evaluation, and when it was measured if that was earlier, in seconds since the epoch.
    """
    key = evaluation_key(rollouts, tasks, settings) if rollouts.is_main else ""
    found = rollouts.gather([cached_evaluation(key) if key else None])[0]
    if found is not None:
        return replace(found.evaluation, k=settings.k), found.measured
    result = evaluate_rollouts(rollouts, tasks, settings, heading)
    if key:
        keep_evaluation(key, result)
    return result, None


def cached_evaluation(key: str) -> CachedEvaluation | None:
    """The measurement of this key; None if there is none that can be read."""
    try:
        content = json.loads(_path(key).read_text(encoding="utf-8"))
        if content["schema"] != _SCHEMA_VERSION:
            return None
        attempts = tuple(map(Attempt.from_record, content["attempts"]))
        evaluation = Evaluation(
            attempts,
            tuple(content["k"]),
            content["convention"],
            float(content["seconds"]),
            refine_steps=content["refine_steps"],
        )
        return CachedEvaluation(evaluation, float(content["measured"]))
    except (OSError, ValueError, KeyError, TypeError):  # absent, torn or of another make: it is measured again
        return None


def keep_evaluation(key: str, evaluation: Evaluation) -> None:
    """Keeps a measurement, unless attempts failed for lack of a sandbox or the folder cannot be written to."""
    if evaluation.infrastructure_failures:
        return
    path = _path(key)
    own = path.with_name(f"{os.getpid()}-{path.name}")  # other runs may measure the same at this moment
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(
            own,
            {
                "schema": _SCHEMA_VERSION,
                "measured": time.time(),
                "convention": evaluation.convention,
                "k": list(evaluation.k),
                "seconds": evaluation.seconds,
                "refine_steps": evaluation.refine_steps,
                "attempts": [attempt.to_record() for attempt in evaluation.attempts],
            },
        )
        os.replace(own, path)
    except OSError:  # a cache that cannot be written costs time alone
        return


def evaluation_key(rollouts: Rollouts, tasks: Sequence[Task], settings: EvaluationSettings) -> str:
    """The hash of all that an evaluation depends on: 32 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=16)
    run = rollouts.settings
    drawn = asdict(replace(settings, k=()))
    if not settings.num_generations:  # greedy completions depend on neither
        del drawn["seed"], drawn["temperature"]
    if not settings.refine_steps:
        del drawn["visible_tests"], drawn["positions"]
    model = rollouts.model
    adapted = isinstance(model, PeftModel) and _is_effective(model)
    digest.update(_text([_SCHEMA_VERSION, [__version__, *(version(name) for name in _LIBRARIES)], run.engine, drawn,
                         asdict(run.limits), run.isolation, sys.version, str(model.device.type),
                         rollouts.prompts.convention, sorted(end_ids(model, rollouts.tokenizer)), _config(model, adapted)]))  # fmt: skip
    for task in sorted(tasks, key=lambda task: task.task_id):
        prompt = rollouts.prompts.write(task, task.description)
        row = {name: value for name, value in task.to_row().items() if name != "reference"}
        digest.update(_text([row, prompt.ids, prompt.left, prompt.stop, prompt.fence]))
    for name, tensor in _weights(model, adapted):
        digest.update(_text([name, str(tensor.dtype), list(tensor.shape)]))
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _config(model: Any, adapted: bool) -> list[Any]:
    """What gives the weights their meaning: the model's config, and that of an adapter which changes anything."""
    values = {name: value for name, value in model.config.to_dict().items() if name not in _SAYS_NOTHING}
    if not adapted:
        return [values]
    adapters = {name: config.to_dict() for name, config in model.peft_config.items()}
    return [values, adapters, list(model.active_adapters), str(model.get_model_status().enabled)]


def _is_effective(model: PeftModel) -> bool:
    """Whether an adapter may change what the model writes; a fresh LoRA, DoRA or (IA)³ does not."""
    parameters = dict(model.named_parameters(remove_duplicate=False))
    return any(
        _changes(model, name, value, parameters) for name, value in parameters.items() if _ADAPTER_PART.search(name)
    )


def _changes(model: PeftModel, name: str, value: torch.Tensor, parameters: Mapping[str, torch.Tensor]) -> bool:
    """Whether a tensor of an adapter differs from what it begins with, as far as that makes a difference."""
    if ".lora_A." in name or ".lora_embedding_B." in name:
        return False  # it is multiplied by the other matrix, which is zero at first
    if ".lora_B." in name or ".lora_embedding_A." in name:
        return bool(value.any())
    if ".ia3_l." in name:
        return bool((value != 1).any())
    if ".lora_magnitude_vector." in name:  # DoRA: the norms of the base's weights
        path, _, adapter = name.partition(".lora_magnitude_vector.")
        layer = model.get_submodule(path)
        dora = layer.lora_magnitude_vector[adapter.partition(".")[0]]
        weight = layer.get_base_layer().weight
        if not weight.is_floating_point():
            return True  # quantised weights have no norm of their own; such a model is measured once more
        return not torch.equal(dora.get_weight_norm(weight, lora_weight=0.0, scaling=0.0), value)
    if ".modules_to_save." in name:
        original = parameters[_SAVED_MODULE.sub(".original_module.", name)]
        return original.shape != value.shape or not torch.equal(original.to(value.dtype), value)
    return True


def _weights(model: Any, adapted: bool) -> list[tuple[str, torch.Tensor]]:
    """The tensors by the names that they have without an adapter; those of an adapter only if it changes anything."""
    tensors = {name: value for name, value in model.state_dict().items() if isinstance(value, torch.Tensor)}
    if isinstance(model, PeftModel) and not adapted:
        tensors = {name: value for name, value in tensors.items() if not _ADAPTER_PART.search(name)}
    inside = re.compile(r"\.(base_layer|original_module)\.")
    plain = {inside.sub(".", name.removeprefix("base_model.model.")): name for name in tensors}
    return [(name, tensors[plain[name]]) for name in sorted(plain)]


def _text(content: Any) -> bytes:
    return json.dumps(content, sort_keys=True, default=str).encode()


def _path(key: str) -> Path:
    root = os.environ.get("TRL_GIFT_CACHE")
    if not root:  # the cache of Hugging Face, as its libraries find it
        home = os.environ.get("XDG_CACHE_HOME", "~/.cache")
        root = os.path.join(os.environ.get("HF_HOME", os.path.join(home, "huggingface")), "trl_gift")
    return Path(os.path.expanduser(root)) / "evaluations" / f"{key}.json"
