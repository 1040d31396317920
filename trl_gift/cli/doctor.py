"""`trl-gift doctor`: versions, device, compilers, and the isolation layers that are proven to be enforced on this machine."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from trl_gift import __version__
from trl_gift.cli.lines import LineParser
from trl_gift.common.words import plural
from trl_gift.sandbox import languages, probe_isolation

LIBRARIES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "bitsandbytes", "vllm")


def run(argv: Sequence[str]) -> int:
    """Prints the findings; exits with 1 if programs cannot be isolated here."""
    options = _parser().parse_args(argv)
    layers = probe_isolation()
    findings: dict[str, Any] = {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "device": _device(),
        "versions": {"trl-gift": __version__} | {name: _version(name) for name in LIBRARIES},
        "languages": [asdict(found) for found in languages.toolchains()],
        "isolation": [asdict(layer) for layer in layers],
        "isolated": any(layer.enforced for layer in layers),
    }
    print(json.dumps(findings) if options.json else _text(findings))
    return 0 if findings["isolated"] else 1


def names() -> dict[str, str]:
    """How this command spells its options, by their names in Python."""
    return _parser().spellings()


def _parser() -> LineParser:
    parser = LineParser(
        prog="trl-gift doctor", description="What this installation has, and which isolation layers are enforced."
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _device() -> str:
    try:
        import torch
    except ImportError as error:
        return f"unknown: torch cannot be imported ({error})"
    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory / 2**30
        return f"{torch.cuda.device_count()} x {torch.cuda.get_device_name(0)}, {memory:.0f} GiB"
    return f"CPU, {plural(torch.get_num_threads(), 'thread')}"


def _text(findings: dict[str, Any]) -> str:
    versions = [f"  {name:<14} {found or 'not installed'}" for name, found in findings["versions"].items()]
    toolchains = [f"  {found['title']:<14} {found['version'] or found['problem']}" for found in findings["languages"]]
    layers = []
    for layer in findings["isolation"]:
        state = "enforced" if layer["enforced"] else "NOT enforced" if layer["available"] else "not available"
        layers.append(f"  {layer['name']:<14} {state}: {layer['detail']}")
        if not layer["enforced"] and layer["fix"]:
            layers.append(f"  {'':<14} fix: {layer['fix']}")
    verdict = (
        "programs run isolated"
        if findings["isolated"]
        else "programs cannot be isolated here; nothing will be executed"
    )
    return "\n".join(
        [
            f"python {findings['python']} on {findings['system']}",
            f"device: {findings['device']}",
            "versions:",
            *versions,
            "languages besides Python:",
            *toolchains,
            "isolation of executed programs, proven by probes:",
            *layers,
            verdict,
        ]
    )
