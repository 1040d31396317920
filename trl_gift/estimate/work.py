"""How much there is to do: tokens, programs, optimizer steps and bytes on disk, as functions of the options.

Counts of requests are exact. Tokens are requests times mean lengths: the tokenizer and the tasks give those of the
prompts, a calibration run or an assumption gives those of the completions (`Lengths`). Where only the run itself decides
how much there is (how many tasks are solved, which completions hold a program), the figure is the most there can be.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from trl_gift.config import GiFTConfig
from trl_gift.distillation.plan import SOLVING
from trl_gift.prompts import PromptFormat, load_examples
from trl_gift.sampling.hints import hint_for
from trl_gift.sampling.showing import show_test
from trl_gift.tasks import Task

# Tasks whose prompts are tokenized; of a larger set, this many are taken, evenly spread.
MOST_TOKENIZED = 256
# Characters of a sample's record without texts, token ids and outcome; of an outcome; of one token id; of a token.
_RECORD_CHARS, _OUTCOME_CHARS, _ID_CHARS, _CHARS_PER_TOKEN = 600, 900, 6, 3.3
# Parquet of the same samples, as a share of the JSON lines.
PARQUET_SHARE = 0.3


@dataclass(frozen=True, slots=True)
class Lengths:
    """Mean lengths of what the model writes, in tokens.

    Attributes:
        program: A completion of a write prompt, the end token included.
        description: A completion of a read or rewrite prompt.
        source: Where the numbers come from, in words.
    """

    program: float
    description: float
    source: str

    def cut(self, config: GiFTConfig) -> Lengths:
        """The same lengths, cut at the most that the options allow."""
        return replace(
            self,
            program=min(self.program, config.completion_length),
            description=min(self.description, config.max_description_length),
        )


@dataclass(frozen=True, slots=True)
class PromptLengths:
    """Lengths of prompts, in tokens.

    Attributes:
        write: Mean write prompt of a task.
        write_frame: Mean write prompt without its description.
        read_frame: Mean read (or rewrite) prompt without the program (or with the description) that it shows.
        description: Mean description of a task alone.
        reference: Mean reference solution with its end token; None where no task has one.
        longest_reference: The longest one; 0 without any.
        longest_write: The longest write prompt of a task.
        evaluation: Mean write prompt of an evaluation task; 0 without any.
        longest_evaluation: The longest one.
        hinted: Mean write prompt with a hint; `write` where the sampler gives none.
        longest_hinted: The longest one.
        repair: Mean prompt of a repair without the program that it shows; 0 where nothing is repaired.
        longest_repair: The longest one.
    """

    write: float
    write_frame: float
    read_frame: float
    description: float
    reference: float | None
    longest_reference: int
    longest_write: int
    evaluation: float
    longest_evaluation: int
    hinted: float
    longest_hinted: int
    repair: float = 0.0
    longest_repair: int = 0


@dataclass(frozen=True, slots=True)
class SamplingWork:
    """The sampling of one round, or of one evaluation.

    Attributes:
        programs: Completions of write prompts.
        descriptions: Completions of read and rewrite prompts.
        program_tokens: Tokens sampled for programs.
        description_tokens: Tokens sampled for descriptions.
        prompt_tokens: Tokens of prompts, each prompt once.
        executions: Programs to execute, at most.
    """

    programs: int
    descriptions: int
    program_tokens: float
    description_tokens: float
    prompt_tokens: float
    executions: int

    @property
    def completion_tokens(self) -> float:
        """All tokens sampled."""
        return self.program_tokens + self.description_tokens


@dataclass(frozen=True, slots=True)
class TrainingWork:
    """One round's fine-tuning, at most: every task is solved and no pair is too long.

    Attributes:
        pairs: Training examples.
        steps: Optimizer steps.
        tokens: Tokens that pass through the model, without padding.
    """

    pairs: int
    steps: int
    tokens: float


@dataclass(frozen=True, slots=True)
class Disk:
    """Bytes on disk of the whole run.

    Attributes:
        samples: Samples of all rounds, JSON lines and Parquet.
        checkpoint: One checkpoint.
        checkpoints: How many there are at the fullest moment.
        final: The model that is saved at the end.
    """

    samples: float
    checkpoint: float
    checkpoints: int
    final: float

    @property
    def total(self) -> float:
        """Everything at the fullest moment."""
        return self.samples + self.checkpoint * self.checkpoints + self.final


def prompt_lengths(
    prompts: PromptFormat, tasks: Sequence[Task], eval_tasks: Sequence[Task], config: GiFTConfig
) -> PromptLengths:
    """Tokenizes the prompts of at most `MOST_TOKENIZED` tasks.

    Args:
        prompts: How the model is asked.
        tasks: The tasks to sample for, at least one.
        eval_tasks: Evaluation tasks.
        config: The run's options.
    """
    some = spread(tasks, MOST_TOKENIZED)
    writes = [len(prompts.write(task, task.description).ids) for task in some]
    frames = [len(prompts.write(task, "").ids) for task in some]
    referenced = [task for task in some if task.reference]
    examples = load_examples(config.description_examples)
    shown = min(config.num_description_examples, len(examples))
    reads = []
    for place, task in enumerate(some):
        others = [examples[(place + 1 + turn) % len(examples)] for turn in range(shown)]
        asked = prompts.rewrite(task) if config.sampler == "rewrite" else prompts.read(task, "", others)
        reads.append(len(asked.ids))
    targets = [(task, prompts.target(task, task.reference or "")) for task in referenced]
    pairs = [(prompts.write(task, task.description), target) for task, target in targets if target is not None]
    references = [len(prompts.encode(prompt, target)[1]) for prompt, target in pairs]
    hints = [(task, hint_for(config.hint, task, ())) for task in some] if config.sampler == "hinted" else []
    hinted = [len(prompts.write(task, task.description, hint).ids) for task, hint in hints if hint] or writes
    # The failure is counted as the first test; what a program returns instead is about as long as what it should return.
    repairing = (
        [task for task in some if task.tests is not None] if config.distillation not in ("none", *SOLVING) else []
    )
    repairs = [
        len(prompts.refine(task, task.description, "", show_test(task.tests, 0)).ids)
        for task in repairing
        if task.tests is not None
    ]
    evaluations = [len(prompts.write(task, task.description).ids) for task in spread(eval_tasks, MOST_TOKENIZED)]
    return PromptLengths(
        write=fmean(writes),
        write_frame=fmean(frames),
        read_frame=fmean(reads),
        description=max(1.0, fmean(writes) - fmean(frames)),
        reference=fmean(references) if references else None,
        longest_reference=max(references, default=0),
        longest_write=max(writes),
        evaluation=fmean(evaluations) if evaluations else 0.0,
        longest_evaluation=max(evaluations, default=0),
        hinted=fmean(hinted),
        longest_hinted=max(hinted),
        repair=fmean(repairs) if repairs else 0.0,
        longest_repair=max(repairs, default=0),
    )


def assumed_lengths(config: GiFTConfig, prompts: PromptLengths) -> Lengths:
    """Lengths without a calibration run: as the references and descriptions of the tasks, or half of what is allowed."""
    if prompts.reference is not None:
        program, origin = prompts.reference, "as long as the references"
    else:
        program, origin = config.completion_length / 2, "half of max_completion_length"
    source = f"assumed: programs {origin}, descriptions as long as those of the tasks"
    return Lengths(program, prompts.description, source).cut(config)


def sampling_work(config: GiFTConfig, num_tasks: int, prompts: PromptLengths, lengths: Lengths) -> SamplingWork:
    """One round's sampling, at most: every chain has a program to read after each step.

    With `max_tokens_per_round` it is the share of that which the tokens pay for.
    """
    steps = config.num_steps
    described = {"gibbs": steps - 1, "rewrite": steps}.get(config.sampler, 0)
    shown = 0.0 if config.sampler == "rewrite" else lengths.program
    described_prompts = prompts.write_frame + lengths.description + prompts.read_frame + shown
    # If no task is solved, the later half of the steps shows a hint.
    hinted = steps // 2 * (prompts.hinted - prompts.write) if config.sampler == "hinted" else 0.0
    programs, descriptions = num_tasks * steps * config.num_generations, num_tasks * described
    prompt_tokens = num_tasks * ((steps - described) * prompts.write + described * described_prompts + hinted)
    tokens, limit = programs * lengths.program + descriptions * lengths.description, config.max_tokens_per_round
    share = min(1.0, limit / tokens) if limit else 1.0
    programs, descriptions = math.ceil(share * programs), math.ceil(share * descriptions)
    return SamplingWork(
        programs=programs,
        descriptions=descriptions,
        program_tokens=programs * lengths.program,
        description_tokens=descriptions * lengths.description,
        prompt_tokens=share * prompt_tokens,
        executions=programs if config.verify else 0,
    )


def repair_work(config: GiFTConfig, num_tasks: int, prompts: PromptLengths, lengths: Lengths) -> SamplingWork | None:
    """What a teacher writes in a round, at most: every task fails, and so does every repair; None without a teacher.

    With `teacher_budget` it is the share of that which the tokens pay for. Programs have the lengths of the student's.
    """
    if config.distillation == "none":
        return None
    programs = num_tasks * config.teaching_settings().most
    solves = config.distillation in SOLVING
    prompt_tokens = programs * (prompts.write if solves else prompts.repair + lengths.program)
    tokens, limit = programs * lengths.program, config.teacher_budget
    share = min(1.0, limit / tokens) if limit else 1.0
    programs = math.ceil(share * programs)
    return SamplingWork(programs, 0, programs * lengths.program, 0.0, share * prompt_tokens, programs)


def evaluation_work(config: GiFTConfig, num_tasks: int, prompts: PromptLengths, lengths: Lengths) -> SamplingWork:
    """One evaluation: a greedy program for each task, and the sampled ones of pass@k."""
    programs = num_tasks * (1 + config.eval_num_generations)
    requests = num_tasks * (2 if config.eval_num_generations else 1)
    return SamplingWork(programs, 0, programs * lengths.program, 0.0, requests * prompts.evaluation, programs)


def training_work(
    config: GiFTConfig, num_tasks: int, num_references: int, prompts: PromptLengths, lengths: Lengths, processes: int
) -> TrainingWork:
    """One round's fine-tuning on `processes` devices, if every task is solved."""
    programs = sampling_work(config, num_tasks, prompts, lengths).programs
    sampled = math.ceil(programs / num_tasks)
    drawn = sampled if config.num_selected is None else config.num_selected
    selected = num_tasks * (drawn if config.selection_with_replacement else min(drawn, sampled))
    references = num_references if config.train_on_references else 0
    pairs = selected + references
    reference = lengths.program if prompts.reference is None else prompts.reference
    tokens = selected * (prompts.write + lengths.program) + references * (prompts.write + reference)
    batch = config.per_device_train_batch_size * config.gradient_accumulation_steps * processes
    steps, tokens = math.ceil(config.num_train_epochs * math.ceil(pairs / batch)), tokens * config.num_train_epochs
    if config.max_steps > 0:
        steps, tokens = config.max_steps, tokens * config.max_steps / max(steps, 1)
    return TrainingWork(pairs, steps, tokens)


def record_bytes(prompts: PromptLengths, lengths: Lengths) -> float:
    """One line of the store: the record's own fields, three texts (completion, program, target), its description, its
    token ids and the outcome; 3.3 characters a token are assumed.
    """
    texts = 3 * lengths.program + prompts.write_frame + lengths.description
    return _RECORD_CHARS + _CHARS_PER_TOKEN * texts + _ID_CHARS * lengths.program + _OUTCOME_CHARS


def checkpoint_count(config: GiFTConfig, steps_per_round: int) -> int:
    """Checkpoints at the fullest moment: one at the end of each round, those of `save_steps`, one more while an old
    one is being replaced; none with `save_strategy="no"`.
    """
    strategy = str(config.save_strategy.value)
    if strategy == "no":
        return 0
    per_round = 1
    if strategy == "steps" and config.save_steps >= 1:
        every = int(config.save_steps)
        per_round = steps_per_round // every + (steps_per_round % every > 0)
    elif strategy == "epoch":
        per_round = math.ceil(config.num_train_epochs)
    total = config.num_rounds * per_round
    return total if config.save_total_limit is None else min(total, config.save_total_limit + 1)


def spread(tasks: Sequence[Task], count: int) -> list[Task]:
    """At most `count` of the tasks, evenly spread over all of them."""
    if len(tasks) <= count:
        return list(tasks)
    return [tasks[round(place * len(tasks) / count)] for place in range(count)]
