"""Answers of models and the programs in them: each file in `answers` holds one, and what a careful reader would run.

A file begins with options (`key: value`): `as` is what reads the answer (`program`, `text`, `completion`, `blocks`),
`tests` names what tests use besides the signature, `rename: yes` allows another name, `tags` are the tags of a language, `opening` is
the line that opens the function under test in it, and `passes` is an expression that is true with the expected program. The sections follow, each after a line `=== name`:
the signature, the answer, and the expected program, reason or blocks. `⟨U+00A0⟩` stands for a character that is not seen.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from trl_gift import codetext
from trl_gift.sandbox import AssertTests, LocalSandbox, Status

FILES = sorted((Path(__file__).parent / "answers").glob("*.txt"))
NAMED = re.compile(r"⟨U\+([0-9A-F]+)⟩")


@dataclass
class Case:
    options: dict[str, str] = field(default_factory=dict)
    sections: dict[str, str] = field(default_factory=dict)


def read(path: Path) -> Case:
    text = NAMED.sub(lambda found: chr(int(found[1], 16)), path.read_text(encoding="utf-8"))
    head, *sections = re.split(r"^=== ", text, flags=re.MULTILINE)
    case = Case(dict(line.split(": ", 1) for line in head.split("\n") if line))
    for section in sections:
        name, _, body = section.partition("\n")
        case.sections[name] = body.removesuffix("\n")
    return case


def lines(code: str | None) -> list[str] | None:
    """The lines of a program that are not empty: empty ones between its parts do not matter."""
    return code if code is None else [line for line in code.split("\n") if line.strip()]


def found_in(case: Case) -> tuple[str | None, str]:
    """The program that is found, and the kind and the words of the reason if there is none."""
    answer, signature = case.sections["answer"], case.sections.get("signature")
    if case.options.get("as") == "completion":
        return codetext.complete(signature, answer), "nothing"
    if case.options.get("as") == "text":
        found = codetext.find_text(answer, frozenset(case.options["tags"].split()), case.options.get("opening", ""))
    else:
        names = frozenset(case.options.get("tests", "").split())
        found = codetext.find_program(answer, signature, names, case.options.get("rename") == "yes")
    return found.code, f"{found.kind}: {found.reason}"


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_an_answer_gives_what_a_careful_reader_would_run(path):
    case = read(path)
    if case.options.get("as") == "blocks":
        blocks = codetext.fenced_blocks(case.sections["answer"])
        shown = [f"--- {block.tag}{'' if block.closed else ', open'}".rstrip() + f"\n{block.code}" for block in blocks]
        assert "\n".join(shown) == case.sections["blocks"]
        return
    code, reason = found_in(case)
    if "program" in case.sections:
        assert lines(code) == lines(case.sections["program"]), reason
    else:
        assert (code, reason) == (None, case.sections["reason"])


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_a_program_is_found_again_where_it_stands_alone(path):
    case = read(path)
    if "program" not in case.sections or case.options.get("as") == "text":
        return
    program, names = case.sections["program"], frozenset(case.options.get("tests", "").split())
    answer = f"``````python\n{program}\n``````"
    assert lines(codetext.find_program(answer, case.sections.get("signature"), names).code) == lines(program)


def test_the_expected_programs_are_right():
    """What the files expect passes the expression that they name, so that no wrong expectation stands among them."""
    cases = {path.stem: case for path in FILES if "passes" in (case := read(path)).options}
    pairs = []
    for case in cases.values():
        signature = case.sections["signature"]
        name, shared = codetext.entry_point_of(signature), codetext.opens_class(signature)
        tests = AssertTests(f"assert {case.options['passes']}", name, shared=shared)
        pairs.append((case.sections["program"], tests))
    with LocalSandbox(num_workers=1) as sandbox:
        outcomes = [future.result() for future in sandbox.submit_all(pairs)]
    assert {name: outcome.message for name, outcome in zip(cases, outcomes, strict=True)
            if outcome.status is not Status.PASSED} == {}  # fmt: skip


def test_there_are_enough_of_them():
    assert len(FILES) >= 150
