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

All {count} options of TRL's [`SFTConfig`](https://huggingface.co/docs/trl/sft_trainer#trl.SFTConfig) are options here too
and configure each round's fine-tuning ([the differences](from-sft.md)). Their defaults are those of SFTConfig.
"""


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
    return "\n".join(sections)


def table(options: Iterable[Option]) -> str:
    """Options as a table."""
    return "\n".join(["| option | default | what it does |\n| --- | --- | --- |", *map(row, options), ""])


def row(option: Option) -> str:
    """A line of a table."""
    text = option.text + (" May change when a run is resumed." if option.may_change else "")
    for plain, escaped in (("|", "\\|"), ("<", "&lt;"), ("*", "\\*")):
        text = text.replace(plain, escaped)
    return f"| `{option.name}`<br>{option.type_name} | `{option.default!r}` | {text} |"
