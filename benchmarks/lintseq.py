"""LintSeq: our generator against the paper's procedure with pylint, on the same programs, on one core.

    pip install pylint
    python benchmarks/lintseq.py

The programs are functions of the standard library with the imports that they need, or the column of a file (`--data`); both linters
find them clean. The paper's procedure is the same backward phase, but each state is written to a file and linted by a new run of pylint in this process, with the
authors' options; nothing is known without asking. Times are CPU seconds. Prints:

- sequences per second of both (`vs_pylint` is their ratio);
- the sizes of the edits of both, and how far apart two runs of ours are;
- how often the two linters agree on the states that the paper's procedure has linted;
- the cost of a sequence against the length of modules of the standard library;
- wrong round trips among functions and modules of the standard library and of the installed packages.

Programs are compiled, never executed. With `--json` the last line is one JSON object.
"""

from __future__ import annotations

import argparse
import ast
import json
import math
import sys
import sysconfig
import tempfile
import textwrap
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from trl_gift.common.randomness import stream_key
from trl_gift.errors import ConfigError
from trl_gift.lintseq import FastLinter, Linter, ProgramError, linter_of, resolve, sample_edit_sequences, to_text

PATHS = sysconfig.get_paths()
LENGTHS = (20, 50, 100, 200, 300, 400, 500)


class PaperLinter:
    """pylint as the authors run it; it remembers what it has said."""

    only_names = False

    def __init__(self) -> None:
        linter_of("pylint")  # says what to install
        self.said: dict[str, tuple[int, ...]] = {}
        self.calls = 0

    def errors(self, code: str) -> tuple[int, ...]:
        """As `Linter.errors`."""
        from pylint.lint import Run
        from pylint.reporters import CollectingReporter

        self.calls += 1
        reporter = CollectingReporter()
        with tempfile.NamedTemporaryFile("w", suffix=".py", encoding="utf-8", newline="") as file:
            file.write(code)
            file.flush()
            Run(["--disable=C,R", "--reports=n", "--score=n", file.name], reporter=reporter, exit=False)
        lines = []
        for message in reporter.messages:
            if message.category == "warning" and message.msg_id not in ("W0311", "W0231"):
                continue
            place = message.line
            if message.msg_id == "E0001" and "on line" in message.msg:
                place = int(message.msg[: message.msg.rfind("(")].split("on line ")[1].split()[0].strip("':"))
            lines.append(place)
        self.said[code] = tuple(lines)
        return self.said[code]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--programs", type=int, default=60, help="programs that both generators get")
    parser.add_argument("--lines", type=int, nargs=2, default=(15, 25), help="their least and most lines")
    parser.add_argument("--sequences", type=int, default=5, help="sequences of each program")
    parser.add_argument("--data", help="a JSON Lines file to take the programs from")
    parser.add_argument("--column", default="code", help="the column of that file")
    parser.add_argument("--repeats", type=int, default=5, help="programs of each length")
    parser.add_argument("--longest", type=int, default=500, help="the longest of these")
    parser.add_argument("--round-trips", type=int, default=1000, help="programs to resolve again")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # of other people's programs
    rng = np.random.default_rng(options.seed)

    try:
        paper = PaperLinter()
        programs = chosen(options, paper, rng)
    except (ConfigError, OSError, KeyError) as error:
        sys.exit(f"benchmarks/lintseq.py: {error}")
    mean_lines = sum(code.count("\n") + 1 for code in programs) / len(programs)
    print(f"{len(programs)} programs of {mean_lines:.1f} lines, {options.sequences} sequences each", flush=True)

    sample_edit_sequences(programs[0])  # what is loaded late
    ours, our_sizes = timed(programs, options.sequences, 0, FastLinter(), afresh=False)
    _, again = timed(programs, options.sequences, 1, FastLinter(), afresh=False)
    paper.said.clear()
    theirs, their_sizes = timed(programs, options.sequences, 0, paper, afresh=True)
    for name, seconds in (("ours", ours), ("the paper's", theirs)):
        print(f"{name:<12} {1 / seconds:10.1f} sequences/s per core, {1000 * seconds:8.2f} ms a sequence", flush=True)
    sizes = show_sizes(our_sizes, again, their_sizes)
    agreement = show_agreement(paper)
    lengths = show_lengths(options, rng)
    trips = show_round_trips(options, rng)
    ratios = {
        "vs_pylint": theirs / ours,
        "mean_edit_size_vs_pylint": sizes["mean"]["ours"] / sizes["mean"]["the paper's"],
    }
    print(", ".join(f"{name} {value:.2f}" for name, value in ratios.items()))
    if options.json:
        result = {
            "programs": len(programs),
            "lines": mean_lines,
            "ms_per_sequence": {"ours": 1000 * ours, "paper": 1000 * theirs},
            "sizes": sizes,
            "agreement": agreement,
            "lengths": lengths,
            "round_trips": trips,
        }
        print(json.dumps({"ratios": ratios, **result}))


def chosen(options: argparse.Namespace, paper: PaperLinter, rng: np.random.Generator) -> list[str]:
    """The programs that both get: within the lengths, and clean by both linters."""
    if options.data:
        rows = Path(options.data).read_text(encoding="utf-8").splitlines()
        found: Iterable[str] = (json.loads(rows[place])[options.column] for place in rng.permutation(len(rows)))
    else:
        found = (code for path in sources(rng, "stdlib") for code in some(list(functions(path)), 5, rng))
    least, most = options.lines
    programs: dict[str, None] = {}
    for code in found:
        if len(programs) == options.programs:
            break
        if least <= code.count("\n") + 1 <= most and not FastLinter().errors(code) and not paper.errors(code):
            programs[code] = None
    if not programs:
        raise ConfigError(f"no program has {least} to {most} lines and lints clean; give other --lines.")
    return list(programs)


def some(programs: Sequence[str], count: int, rng: np.random.Generator) -> list[str]:
    return [programs[place] for place in rng.permutation(len(programs))[:count]]


def sources(rng: np.random.Generator, *roots: str) -> Iterator[Path]:
    """The files of the standard library or of the installed packages, without tests, in a random order."""
    paths = []
    for root in roots:
        base = Path(PATHS[root])
        for path in sorted(base.rglob("*.py")):
            inside = path.relative_to(base).parts
            if not {"test", "tests", "idle_test", "lib2to3", "site-packages"} & set(inside):
                paths.append(path)
    return (paths[place] for place in rng.permutation(len(paths)))


def text_of(path: Path) -> str | None:
    """The text of a file in UTF-8 that compiles, with its own line ends; None for another file."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            text = file.read()
        ast.parse(text)
    except (UnicodeDecodeError, SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return text


def functions(path: Path) -> Iterator[str]:
    """The functions and classes of a file as programs, each with the imports of the module whose names it uses."""
    text = text_of(path)
    if text is None:
        return
    tree, lines = ast.parse(text), text.split("\n")
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom) and not future(node)]
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
            used = {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}
            needed = [
                one for one in imports if used & {(name.asname or name.name).split(".")[0] for name in one.names}
            ]
            body = textwrap.dedent("\n".join(lines[first - 1 : node.end_lineno])).rstrip("\r")
            yield "".join(f"{ast.unparse(one)}\n" for one in needed) + body + "\n"


def future(node: ast.Import | ast.ImportFrom) -> bool:
    return isinstance(node, ast.ImportFrom) and (node.module == "__future__" or node.level > 0)


def timed(programs: Sequence[str], count: int, seed: int, linter: Linter, afresh: bool) -> tuple[float, Counter[int]]:
    """CPU seconds of a sequence, and how many edits add how many lines.

    With `afresh`, each sequence lints all its states itself, as in the paper.
    """
    sizes: Counter[int] = Counter()
    started = time.process_time()
    for place, code in enumerate(programs):
        if afresh:
            seeds = [stream_key("afresh", seed, place, index) for index in range(count)]
            found = [one for each in seeds for one in sample_edit_sequences(code, 1, each, linter)]
        else:
            found = sample_edit_sequences(code, count, stream_key("shared", seed, place), linter)
        sizes.update(edit.added for sequence in found for edit in sequence.edits)
    return (time.process_time() - started) / (len(programs) * count), sizes


def show_sizes(ours: Counter[int], again: Counter[int], theirs: Counter[int]) -> dict[str, object]:
    """Prints the distributions of edit sizes side by side."""
    kinds = {"ours": ours, "ours, other seed": again, "the paper's": theirs}
    groups = [(1, 1), (2, 2), (3, 3), (4, 5), (6, 10), (11, 20), (21, 10**6)]
    print(f"{'lines of an edit':<18}" + "".join(f"{name:>18}" for name in kinds))
    table = {}
    for low, high in groups:
        name = str(low) if low == high else f"{low}-{high}" if high < 10**6 else f"over {low - 1}"
        shares = [sum(n for size, n in kind.items() if low <= size <= high) / kind.total() for kind in kinds.values()]
        table[name] = dict(zip(kinds, shares, strict=True))
        print(f"{name:<18}" + "".join(f"{share:>18.1%}" for share in shares))
    means = {name: sum(size * n for size, n in kind.items()) / kind.total() for name, kind in kinds.items()}
    print(f"{'mean':<18}" + "".join(f"{mean:>18.2f}" for mean in means.values()))
    print(f"{'edits':<18}" + "".join(f"{kind.total():>18,}" for kind in kinds.values()))
    apart, noise = distance(ours, theirs), distance(ours, again)
    print(f"total variation: {apart:.3f} from the paper's, {noise:.3f} between two seeds of ours")
    return {
        "shares": table,
        "mean": means,
        "edits": {name: kind.total() for name, kind in kinds.items()},
        "total_variation": {"paper": apart, "other_seed": noise},
    }


def distance(first: Counter[int], second: Counter[int]) -> float:
    """Total variation distance of two distributions."""
    sizes = first.keys() | second.keys()
    return sum(abs(first[size] / first.total() - second[size] / second.total()) for size in sizes) / 2


def show_agreement(paper: PaperLinter) -> dict[str, int]:
    """Prints how often both linters say the same of the states that the paper's procedure has linted."""
    linter = FastLinter()
    counts: Counter[str] = Counter()
    for code, lines in paper.said.items():
        found = linter.errors(code)
        counts["states"] += 1
        counts["same verdict"] += bool(found) == bool(lines)
        counts["same lines"] += set(found) == set(lines)
        counts["only pylint finds errors"] += bool(lines) and not found
        counts["only ours finds errors"] += bool(found) and not lines
    print("agreement: " + ", ".join(f"{name} {count:,}" for name, count in counts.items()))
    return dict(counts)


def show_lengths(options: argparse.Namespace, rng: np.random.Generator) -> dict[str, object]:
    """Prints the cost of a sequence for modules of several lengths, and the power of the length that it grows with."""
    lengths = [length for length in LENGTHS if length <= options.longest]
    found: dict[int, list[str]] = {length: [] for length in lengths}
    for path in sources(rng, "stdlib"):
        if all(len(programs) == options.repeats for programs in found.values()):
            break
        text = text_of(path)
        near = [length for length in lengths if text and 0.85 * length <= text.count("\n") <= 1.15 * length]
        for length in near[:1]:
            found[length] += [text] if text and len(found[length]) < options.repeats else []
    points: list[tuple[float, float]] = []
    rows = {}
    for length, programs in found.items():
        costs = [timed([code], 2, 0, FastLinter(), afresh=False)[0] for code in programs]
        if not costs:
            continue
        points += [(math.log(code.count("\n")), math.log(cost)) for code, cost in zip(programs, costs, strict=True)]
        rows[length] = 1000 * sum(costs) / len(costs)
        print(f"{length:>4} lines: {rows[length]:8.1f} ms a sequence", flush=True)
    power = float(np.polyfit(*zip(*points, strict=True), 1)[0]) if len(rows) > 1 else float("nan")
    print(f"the cost grows with the length to the power {power:.2f}")
    return {"ms": rows, "power": power}


def show_round_trips(options: argparse.Namespace, rng: np.random.Generator) -> dict[str, int]:
    """Prints how many real programs do not come back."""
    counts: Counter[str] = Counter(programs=0, sequences=0, wrong=0)
    seen = set()
    for path in sources(rng, "stdlib", "purelib"):
        text = text_of(path)
        for code in (text, *some(list(functions(path)), 20, rng)) if text else ():
            if code in seen or code.count("\n") > 300:
                continue
            seen.add(code)
            try:
                found = sample_edit_sequences(code, 1, len(seen))
            except ProgramError:
                counts["without sequences"] += 1
                continue
            counts["programs"] += 1
            counts["sequences"] += len(found)
            counts["edits"] += sum(len(one.edits) for one in found)
            counts["wrong"] += sum(resolve(to_text(one)) != code for one in found)
        if counts["programs"] >= options.round_trips:
            break
    print("round trips: " + ", ".join(f"{name} {count:,}" for name, count in counts.items()))
    return dict(counts)


if __name__ == "__main__":
    main()
