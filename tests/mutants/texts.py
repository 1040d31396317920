"""Mutants of prompts, of what is learned after them, and of what is found in an answer."""

from __future__ import annotations

from functools import partial

from tests.mutants.mutant import Mutant

_PROMPTS = "tests/prompts/test_prompts.py"
_BORDER = "tests/prompts/test_border.py"
_CODETEXT = "tests/codetext/test_codetext.py"

_base = partial(Mutant, file="trl_gift/prompts/base.py")
_chat = partial(Mutant, file="trl_gift/prompts/chat.py")
_wording = partial(Mutant, file="trl_gift/prompts/wording.py")
_border = partial(Mutant, file="trl_gift/prompts/border.py", law="texts")
_answers = partial(Mutant, file="trl_gift/codetext/answers.py", law="programs")
_overlap = partial(Mutant, file="trl_gift/tasks/overlap.py", law="overlap")

MUTANTS = (
    _wording(
        name="docstring of the example",
        old="codetext.strip_docstrings(example.code)",
        new="example.code",
        breaks="the example teaches the reader to copy docstrings",
        law="reader",
        test=f"{_PROMPTS}::test_readers_see_no_docstring_of_any_program",
    ),
    _wording(
        name="docstring of the program, base reader",
        old="{CODE_HEADER}{codetext.strip_docstrings(code)}",
        new="{CODE_HEADER}{code}",
        breaks="a base model may copy the description from the program's docstring",
        law="reader",
        test=f"{_PROMPTS}::test_readers_see_no_docstring_of_any_program",
    ),
    _chat(
        name="docstring of the program, chat reader",
        old='shown = codetext.strip_docstrings(code) if language == "python" else code',
        new="shown = code",
        breaks="a chat model may copy the description from the program's docstring",
        law="reader",
        test=f"{_PROMPTS}::test_readers_see_no_docstring_of_any_program",
    ),
    _wording(
        name="docstring of a hint",
        old='codetext.strip_docstrings(hint.text) if hint.kind == "reference" else hint.text',
        new="hint.text",
        breaks="a hint shows the docstring of the reference",
        law="hints",
        test=f"{_PROMPTS}::test_a_base_model_sees_the_hint_inside_the_docstring",
    ),
    _base(
        name="descriptions cut at the programs' stops",
        old="TEXT_BEGINNINGS, (*DESCRIPTION_STOPS, *self.stop))\n\n    def rewrite",
        new="TEXT_BEGINNINGS, (*CODE_STOPS, *self.stop))\n\n    def rewrite",
        breaks="a description ends at a blank comment and goes on after the next header",
        law="reader",
        test=f"{_PROMPTS}::test_base_models_end_programs_and_descriptions_at_different_texts",
    ),
    _wording(
        name="code left in descriptions",
        old="words = [line for line in lines if not codetext.is_statement(line)]",
        new="words = lines",
        breaks="a description keeps the lines of a program",
        law="words alone",
        test="tests/sampling/test_leaks.py::test_a_description_keeps_its_words_and_no_code",
    ),
    _wording(
        name="cut sentence kept",
        old="text = text[: ends[-1].end()]",
        new="pass",
        breaks="a description that the limit cut off ends within a sentence",
        law="words alone",
        test="tests/sampling/test_leaks.py::test_a_sentence_that_was_cut_off_is_left_out",
    ),
    _chat(
        name="doubled begin token",
        old="self.tokenizer(text, add_special_tokens=False)",
        new="self.tokenizer(text)",
        breaks="a chat prompt begins with two begin tokens",
        law="texts",
        test=f"{_PROMPTS}::test_prompts_begin_with_one_bos",
    ),
    _base(
        name="end token in the prompt",
        old="while ids and ids[-1] == self.tokenizer.eos_token_id:",
        new="while False:",
        breaks="a tokenizer that closes every text ends the completion before it starts",
        law="texts",
        test=f"{_PROMPTS}::test_prompts_begin_with_one_bos",
    ),
    _base(
        name="every target is verbatim",
        old="return Extraction(code, target, verbatim=target == completion)",
        new="return Extraction(code, target, verbatim=True)",
        breaks="what was cut off a completion counts in the perplexity of the program",
        law="perplexity",
        test=f"{_PROMPTS}::test_base_extract_and_target_round_trip",
    ),
    _chat(
        name="thoughts learned",
        old="thought = parts.thought if self.keep_thoughts and parts.thought else self.no_thought",
        new="thought = parts.thought or self.no_thought",
        breaks="thoughts are learned although train_on_thinking is off",
        law="texts",
        test=f"{_PROMPTS}::test_thoughts_are_kept_out_of_the_code",
    ),
    _chat(
        name="signature not pinned",
        old="return codetext.Found(codetext.pin(found.code, signature))",
        new="return found",
        breaks="a chat model's own annotations replace the pinned signature",
        law="programs",
        test=f"{_PROMPTS}::test_chat_extract_pins_the_signature",
    ),
    _border(
        name="prompts never cut",
        old="                found = cut\n",
        new="                found = 0\n",
        breaks="a prompt ends with a lone line break, after which a model has never seen an indented line",
        test=f"{_BORDER}::test_a_model_continues_the_prompt_that_it_learned[gpt2]",
    ),
    _border(
        name="target tokenised alone",
        old="        joint = self._encode(prompt.text + target)\n        border = _common(prompt.ids, joint)\n"
        "        return joint[:border], joint[border:]",
        new="        return list(prompt.ids), self._encode(prompt.left + target)",
        breaks="the target's ids are not those of the joint text",
        test=f"{_BORDER}::test_a_prompt_and_its_target_are_tokenised_as_one_text",
    ),
    Mutant(
        name="tests shown without limit",
        file="trl_gift/prompts/pinned.py",
        old="task.examples[: self.tests]",
        new="task.examples",
        breaks="prompts show all tests of a task",
        law="options",
        test="tests/prompts/test_pinned.py::test_examples_follow_every_description",
    ),
    Mutant(
        name="imports pinned always",
        file="trl_gift/prompts/pinned.py",
        old="if task.signature is None or not self.imports or task.reference is None:",
        new="if task.signature is None or task.reference is None:",
        breaks="prompts give the imports of the reference away",
        law="options",
        test="tests/prompts/test_pinned.py::test_imports_of_the_reference_are_shown_only_if_asked",
    ),
    _answers(
        name="first fence",
        old="for place in range(len(pieces) - 1, -1, -1):",
        new="for place in range(len(pieces)):",
        breaks="a draft is taken for the answer that corrects it",
        test="tests/codetext/test_answers.py::test_an_answer_gives_what_a_careful_reader_would_run",
    ),
    _answers(
        name="stub taken for the answer",
        old="if function is None or not (is_stub(function) or _is_sketch(code, function)):",
        new="if True:",
        breaks="a last block that only sketches the function is taken for the program",
        test="tests/codetext/test_answers.py::test_an_answer_gives_what_a_careful_reader_would_run",
    ),
    Mutant(
        name="names of local variables tell programs apart",
        file="trl_gift/codetext/keys.py",
        old="    names: dict[str, str] = {}\n    for node in ast.walk(tree):\n        if isinstance(node, ast.arg):\n"
        '            names.setdefault(node.arg, f"v{len(names)}")\n'
        "        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):\n"
        '            names.setdefault(node.id, f"v{len(names)}")\n    return _dump(tree, names)\n\n\ndef skeleton',
        new="    names: dict[str, str] = {}\n    return _dump(tree, names)\n\n\ndef skeleton",
        breaks="copies with other local names count as distinct programs",
        law="selection",
        test=f"{_CODETEXT}::test_normalise_ignores_layout_names_and_docstrings",
    ),
    Mutant(
        name="docstrings of inner functions kept",
        file="trl_gift/codetext/keys.py",
        old="for scope in scopes(tree) if (node := docstring(scope)) is not None]",
        new="for scope in [tree] if (node := docstring(scope)) is not None]",
        breaks="only the docstring of the module is removed",
        law="reader",
        test=f"{_PROMPTS}::test_readers_see_no_docstring_of_any_program",
    ),
    _overlap(
        name="threshold strict",
        old="if share >= threshold:",
        new="if share > threshold:",
        breaks="a task with exactly the threshold's share stays",
        test="tests/tasks/test_decontamination.py::test_a_share_that_reaches_the_threshold_is_an_overlap",
    ),
    _overlap(
        name="jaccard strict",
        old="jaccard >= threshold",
        new="jaccard > threshold",
        breaks="a near-duplicate with exactly the threshold's index stays",
        test="tests/tasks/test_decontamination.py::test_a_jaccard_index_that_reaches_the_threshold_is_a_near_duplicate",
    ),
    _overlap(
        name="one node more",
        old='codetext.skeleton(task.reference or "", LEAST_CODE_NODES)',
        new='codetext.skeleton(task.reference or "", LEAST_CODE_NODES + 1)',
        breaks="references of eleven nodes are not compared",
        test="tests/tasks/test_decontamination.py::test_a_reference_of_just_enough_nodes_is_compared",
    ),
    Mutant(
        name="least nodes inclusive",
        file="trl_gift/codetext/keys.py",
        old="< least_nodes:",
        new="<= least_nodes:",
        breaks="a reference of just enough nodes is not compared",
        law="overlap",
        test="tests/tasks/test_decontamination.py::test_a_reference_of_just_enough_nodes_is_compared",
    ),
    _overlap(
        name="share of the longer description",
        old="shorter, longer = sorted((one, other))",
        new="longer, shorter = sorted((one, other))",
        breaks="a short text inside a long one is not found",
        test="tests/tasks/test_decontamination.py::test_a_text_inside_a_longer_one_is_an_overlap",
    ),
)
