"""Writes the page of every option from the fields of the config while the documentation is built.

The page repeats `trl_gift/config.py`: its sections are the stages, its texts stand beneath the fields.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from itertools import groupby

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from trl import SFTConfig

from trl_gift.cli.arguments import TaskArguments
from trl_gift.common.options import Option, options_of
from trl_gift.config import GiFTConfig
from trl_gift.training.sft_fields import SFT_FIELDS, Kind, Refusal, SFTField

PAGE = "options.md"
_INTRODUCTION = """# Every option

The fields of [`GiFTConfig`](api.md#trl_gift.config.GiFTConfig), by stage. In Python they are its arguments, on the command
line flags of the same name (`--num_steps 10`), in a YAML file lines (`num_steps: 10`). `help(GiFTConfig)` and
`trl-gift train --help` show the same texts.
"""
_COMMAND_LINE = """## On the command line only

`trl-gift train`, `sample`, `evaluate` and `estimate` take the options above, those of TRL's `ModelConfig`
(`model_name_or_path`, `dtype`, `use_peft`, `lora_r`, `load_in_4bit`, ...), those below, `--config FILE.yaml`,
`--preset NAME` ([presets](presets.md)) and `--resume`. `train` also takes `--dry-run` ([estimate](estimate.md)) and the options
of [launchers](launching.md).
"""
_INHERITED = """## Everything of SFTConfig

The {count} options of TRL's [`SFTConfig`](https://huggingface.co/docs/trl/sft_trainer#trl.SFTConfig) are options here too
and configure each round's fine-tuning. Their defaults are those of SFTConfig, except where this page says otherwise. An
option that cannot keep its meaning is refused when the config is made, in one line with the reason and the fix.

`trl_gift/training/sft_fields.py` holds this list, and a test compares it with the fields of `SFTConfig`. Some options exist only
in some of the supported releases.
"""
_KINDS = {
    Kind.HONOURED: ("Honoured", "These mean what they mean for `SFTTrainer`."),
    Kind.PER_ROUND: ("Honoured within each round", "These mean what they mean for `SFTTrainer`, in each round anew."),
    Kind.REFUSED: ("Refused", "Only the default of `SFTConfig` is accepted."),
    Kind.NO_EFFECT: ("Without effect", "Any value is accepted, and changes nothing."),
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the page."""
    files.append(File.generated(config, PAGE, content=page()))
    return files


def page() -> str:
    """The page as Markdown."""
    sections = [_INTRODUCTION]
    for stage, options in groupby(options_of(GiFTConfig).values(), key=lambda option: option.stage):
        sections.append(f"## {stage}\n\n{table(options)}")
    sections.append(f"{_COMMAND_LINE}\n{table(options_of(TaskArguments).values())}")
    sections.append(_INHERITED.format(count=len(fields(SFTConfig))))
    sections.extend(inherited(kind) for kind in Kind)
    return "\n".join(sections)


def table(options: Iterable[Option]) -> str:
    """Options as a table."""
    return "\n".join(["| option | default | what it does |\n| --- | --- | --- |", *map(row, options), ""])


def inherited(kind: Kind) -> str:
    """The options of SFTConfig of one kind: those without a remark in a line, the others as a table."""
    heading, text = _KINDS[kind]
    entries = [entry for entry in SFT_FIELDS.values() if entry.kind is kind]
    plain = ", ".join(f"`{entry.name}`" for entry in entries if not entry.text and not entry.refusals)
    lines = [f"### {heading}", "", text, *(["", f"Without any difference: {plain}."] if plain else []), ""]
    groups: dict[str, list[str]] = {}
    for entry in entries:
        if entry.text or entry.refusals:
            groups.setdefault(remark(entry), []).append(f"`{entry.name}`")
    remarks = [f"| {', '.join(names)} | {escaped(text)} |" for text, names in groups.items()]
    return "\n".join([*lines, "| option | here |", "| --- | --- |", *remarks, ""])


def remark(entry: SFTField) -> str:
    """What the table says of an option."""
    if entry.kind is Kind.REFUSED:
        return " ".join(sentence(refusal) for refusal in entry.refusals)
    refused = (f"Refused: {refusal.values}. {sentence(refusal)}" for refusal in entry.refusals)
    return " ".join([entry.text, *refused]).strip()


def sentence(refusal: Refusal) -> str:
    """The reason and the fix."""
    return f"{refusal.reason[0].upper()}{refusal.reason[1:]}; {refusal.fix}."


def escaped(text: str) -> str:
    """Text as Markdown shows it in a table."""
    for plain, written in (("|", "\\|"), ("<", "&lt;"), ("*", "\\*")):
        text = text.replace(plain, written)
    return text


def row(option: Option) -> str:
    """A line of a table."""
    text = escaped(option.text + (" May change when a run is resumed." if option.may_change else ""))
    return f"| `{option.name}`<br>{option.type_name} | `{option.default!r}` | {text} |"
