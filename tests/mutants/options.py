"""Mutants of the way from an option to its stage: each line of `GiFTConfig` that hands an option on, left out."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_TEST = "tests/test_config_options.py::test_an_option_arrives_at_its_stage"


def _ignored(option: str, old: str, new: str = "", test: str = "", breaks: str = "") -> Mutant:
    return Mutant(
        name=f"{option} not passed",
        file="trl_gift/config.py",
        old=old,
        new=new,
        breaks=breaks or f"the run ignores {option}",
        law="options",
        test=test or f"{_TEST}[{option}]",
    )


def _line(option: str, argument: str = "") -> Mutant:
    return _ignored(option, f"            {argument or option}=self.{option},\n")


MUTANTS = (
    # Sampling
    _ignored("num_steps", "num_steps=self.num_steps,\n            num_generations", "num_steps=2,\n            num_generations"),
    _ignored("num_generations", "num_generations=self.num_generations,\n            code", "num_generations=3,\n            code"),
    _ignored("temperature", "temperature if isinstance(self.temperature, str) else self.temperature,", "1.0,"),
    _ignored("top_p", "                self.top_p,\n                self.top_k,\n", "                1.0,\n                self.top_k,\n"),
    _ignored("top_k", "                self.top_k,\n                min_p", "                0,\n                min_p"),
    _ignored("min_p", "min_p=self.min_p or 0.0,", "min_p=0.0,"),
    _ignored("repetition_penalty", "repetition_penalty=self.repetition_penalty,", "repetition_penalty=1.0,"),
    _ignored("description_temperature", "                self.description_temperature,\n", "                1.0,\n"),
    _ignored("description_top_p", "                self.description_top_p,\n", "                0.95,\n"),
    _ignored("description_top_k", "                self.description_top_k,\n", "                0,\n"),
    _ignored("max_description_length", "                self.max_description_length,\n", "                512,\n"),
    _line("perplexity_condition"),
    _line("num_description_examples"),
    _line("verify"),
    _line("hint"),
    _line("max_description_tries"),
    _line("allow_copies"),
    _ignored(
        "samples_seed", "return self.seed if self.samples_seed is None else self.samples_seed", "return self.seed",
    ),
    _ignored(
        "samples_seed of 0", "return self.seed if self.samples_seed is None else self.samples_seed",
        "return self.samples_seed or self.seed",
        "tests/test_config_options.py::test_the_seed_of_the_run_is_that_of_its_samples_if_not_given",
    ),
    _ignored(
        "the round, while sampling,", "round=round_index,\n            num_steps", "round=1,\n            num_steps",
        "tests/test_config_options.py::test_the_settings_of_a_round_are_of_this_round",
    ),
    # Selection
    _line("num_selected"),
    _line("perplexity_weight"),
    _line("perplexity_cap"),
    _line("perplexity_within_round", "within_round"),
    _line("pool"),
    _line("deduplicate"),
    _line("selection_with_replacement", "with_replacement"),
    _ignored(
        "the round, while selecting,", "            seed=self.sampling_seed,\n            round=round_index,\n        )",
        "            seed=self.sampling_seed,\n        )",
        "tests/test_config_options.py::test_the_settings_of_a_round_are_of_this_round",
    ),
    # Evaluation
    _ignored("eval_num_generations", "num_generations=self.eval_num_generations,", "num_generations=0,"),
    _ignored("eval_k", "k=tuple(self.eval_k),", "k=(1,),"),
    _line("eval_temperature", "temperature"),
    # Prompts
    _ignored("pin_imports", "pinned=Pinned(self.pin_imports, self.prompt_tests),", "pinned=Pinned(False, self.prompt_tests),"),
    _ignored("prompt_tests", "pinned=Pinned(self.pin_imports, self.prompt_tests),", "pinned=Pinned(self.pin_imports),"),
    _ignored("stop", "            stop=tuple(self.stop or ()),\n"),
    _ignored("prompt_format", "            self.prompt_format,\n            end_ids", "            end_ids"),
    _ignored("system_prompt", "            system_prompt=self.system_prompt,\n"),
    _ignored("chat_template_kwargs", "            template_kwargs=kwargs,\n"),
    _ignored("open_answer", "            open_answer=self.open_answer,\n"),
    _ignored("rename_entry_point", "            rename_entry_point=self.rename_entry_point,\n"),
    _ignored("train_on_thinking", "            keep_thoughts=self.train_on_thinking,\n"),
    # Execution and engines
    _ignored("execution_cpu_s", "Limits(cpu_s=self.execution_cpu_s, wall_s", "Limits(wall_s"),
    _ignored("execution_memory_mb", ", memory_mb=self.execution_memory_mb)", ")"),
    _ignored("isolation", "            isolation=self.isolation,\n"),
    _ignored("sandbox_workers", "            sandbox_workers=self.sandbox_workers,\n"),
    _ignored("generation_engine", 'return "auto" if served else self.generation_engine', 'return "auto"'),
    _ignored(
        "generation_engine of a loaded model", "            engine=self.generation_engine,\n",
        test="tests/evaluation/test_rollouts.py::test_the_mode_of_a_model_stays_as_it_was[generate-True]",
        breaks="evaluation and generation ignore generation_engine",
    ),
    _ignored("engine_batch_size", "            batch_size=self.engine_batch_size,\n"),
    _ignored("engine_token_budget", "            token_budget=self.engine_token_budget,\n"),
    # Tasks
    _ignored("decontaminate", "            decontaminate=self.decontaminate,\n"),
    _ignored("decontamination_ngram", "            ngram=self.decontamination_ngram,\n"),
    _ignored("decontamination_threshold", "            threshold=self.decontamination_threshold,\n"),
    _ignored("near_duplicate_threshold", "            near_duplicates=self.near_duplicate_threshold,\n"),
)  # fmt: skip
