"""The report: its figures are those of the records, no text of a model becomes markup, and any run fits into 5 MB."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser

import pytest

from tests.support.recorded_runs import HOSTILE, RecordedRun, hostile_run
from trl_gift.errors import ConfigError
from trl_gift.report import charts, load_run, report_of, write_report
from trl_gift.sampling.store import read_samples


class Page(HTMLParser):
    """The elements of a page, its visible text, and the content of its script elements by type."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.text, self.scripts = [], [], {}
        self._script = None
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self._script = dict(attrs).get("type", "code")
            assert self._script not in self.scripts, "one script of each type"
            self.scripts[self._script] = ""

    def handle_endtag(self, tag):
        if tag == "script":
            self._script = None

    def handle_data(self, data):
        if self._script:
            self.scripts[self._script] += data
        else:
            self.text.append(data)

    @property
    def data(self):
        """What the page's script reads."""
        return json.loads(self.scripts["application/json"])

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())


def page_of(folder, tmp_path, **options):
    written = write_report(load_run(folder), tmp_path / "report.html", **options)
    return Page((tmp_path / "report.html").read_text(encoding="utf-8")), written


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return RecordedRun(tasks=5, steps=4).write(tmp_path_factory.mktemp("run") / "out")


def samples_of(page):
    """The page's samples by name."""
    data = page.data
    rows = [dict(zip(data["fields"], row, strict=True)) for row in data["samples"]]
    for row in rows:
        row |= {"task": data["tasks"][row["task"]], "program": data["programs"][row["program"]]}
        row |= {"description": data["texts"][row["description"]], "message": data["texts"][row["message"]]}
    return {f"{row['round']}/{row['task']}/{row['step']}/{row['index']}": row for row in rows}


def test_no_text_of_a_model_becomes_markup(tmp_path):
    plain, _ = page_of(RecordedRun(tasks=len(HOSTILE)).write(tmp_path / "plain"), tmp_path)
    folder = hostile_run().write(tmp_path / "hostile")
    page, written = page_of(folder, tmp_path)
    assert {tag for tag, _ in page.elements} == {tag for tag, _ in plain.elements}
    assert sum(tag == "script" for tag, _ in page.elements) == 2
    # A browser ends a script element, or opens a comment in it, at less than this parser needs.
    assert "<" not in page.scripts["application/json"]
    assert not any(name.startswith("on") or name == "style" for _, attributes in page.elements for name in attributes)
    assert written.left_out == 0
    for number in (1, 2):
        for sample in read_samples(folder / f"_gift/round-{number}"):
            shown = samples_of(page)[sample.sample_id]
            assert shown["description"] == sample.description
            assert shown["program"] == (sample.code or sample.completion)
            assert shown["message"] == ((sample.outcome or {}).get("message") or sample.no_code_reason or "")


def test_names_of_tasks_and_the_model_are_escaped_where_they_are_markup(tmp_path):
    folder = RecordedRun(rounds=1).write(tmp_path / "out")
    run = folder / "_gift/run.json"
    run.write_text(run.read_text().replace("tiny/model", '\\"><script>alert(1)</script>'))
    for name in ("base.json", "round-1/metrics.json", "round-1/evaluation.json"):
        path = folder / "_gift" / name
        path.write_text(path.read_text().replace("measured/", '\\"><img onerror=alert(1)>'))
    page, _ = page_of(folder, tmp_path)
    assert [tag for tag, _ in page.elements if tag == "img"] == []
    assert sum(tag == "script" for tag, _ in page.elements) == 2
    buttons = [attributes["data-task"] for tag, attributes in page.elements if "data-task" in attributes]
    assert buttons
    assert all(name.startswith('"><img onerror=alert(1)>') for name in buttons)


def test_nothing_is_loaded_from_elsewhere(folder, tmp_path):
    page, _ = page_of(folder, tmp_path)
    assert not [item for item in page.elements if {"src", "href", "srcset", "xlink:href"} & item[1].keys()]
    assert "url(" not in (tmp_path / "report.html").read_text()
    policy = next(attributes["content"] for _, attributes in page.elements if "http-equiv" in attributes)
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy


def test_the_figures_are_those_of_the_records(folder, tmp_path):
    page, _ = page_of(folder, tmp_path)
    base = json.loads((folder / "_gift/base.json").read_text())
    assert f"base {100 * base['metrics']['pass@1']:.1f} %" in page.words
    counts = Counter()
    for number in (1, 2):
        record = json.loads((folder / f"_gift/round-{number}/metrics.json").read_text())
        metrics, gain = record["metrics"], record["gain"]
        interval = f"{100 * metrics['pass@1_low']:.1f} % – {100 * metrics['pass@1_high']:.1f} %"
        signed = [f"{100 * gain[name]:+.1f}".replace("-", "−") for name in ("pass@1", "low", "high")]
        row = [f"{100 * metrics['pass@1']:.1f} %", interval, signed[0], f"{signed[1]} to {signed[2]}"]
        assert f"round {number} {' '.join(row)}" in page.words
        solved = ", ".join(f"step {step['step']}: {step['solved_tasks']}" for step in record["chain"])
        marks = [text for text in page.text if text.startswith(f"round {number}, step ")]
        assert solved in ", ".join(mark.removeprefix(f"round {number}, ") for mark in marks)
        assert f"{record['tokens']:,} {sum(record['verdicts']['isolation'].values()):,} 1 min 2 s" in page.words
        counts.update(sample.status for sample in read_samples(folder / f"_gift/round-{number}"))
        gained = sum(after and not base["greedy"][task] for task, after in record["greedy"].items())
        lost = sum(base["greedy"][task] and not after for task, after in record["greedy"].items())
        assert f"Round {number}: {gained} gained, {lost} lost" in page.words
    assert Counter(row["status"] for row in samples_of(page).values()) == counts
    drawn = load_run(folder).selected.query("count > 0")
    for row in drawn.to_dict("records"):
        assert [row["trained_round"], row["count"]] in samples_of(page)[row["sample_id"]]["draws"]


def test_each_chart_says_what_it_shows_and_gives_its_numbers(folder, tmp_path):
    page, _ = page_of(folder, tmp_path)
    tags = Counter(tag for tag, _ in page.elements)
    assert tags["svg"] == tags["figure"] == tags["desc"] == 8
    assert tags["table"] >= tags["figure"]


def test_parents_are_places_in_the_page(folder, tmp_path):
    page, _ = page_of(folder, tmp_path)
    rows = page.data["samples"]
    place = page.data["fields"].index("parent")
    parents = {f"{row[1]}/{row[0]}/{row[2]}/{row[3]}": row[place] for row in rows if isinstance(row[place], int)}
    assert parents
    for name, parent in parents.items():
        assert rows[parent][:2] == [int(part) for part in reversed(name.split("/")[:2])]
        assert rows[parent][2] < int(name.split("/")[2])


def test_spans_cover_each_program(tmp_path):
    page, _ = page_of(hostile_run().write(tmp_path / "out"), tmp_path)
    for program, spans in zip(page.data["programs"], page.data["spans"], strict=True):
        assert sum(map(int, re.findall(r"(\d+)[a-z]", spans))) == len(program.encode("utf-16-le")) // 2


def test_the_same_run_gives_the_same_bytes(tmp_path):
    pages = []
    for name in ("one", "two"):
        folder = RecordedRun(tasks=30).write(tmp_path / name)
        write_report(load_run(folder), tmp_path / f"{name}.html", most_samples=40)
        pages.append((tmp_path / f"{name}.html").read_bytes())
    assert pages[0] == pages[1]


def test_a_choice_is_whole_tasks_what_was_trained_on_and_every_outcome(tmp_path):
    folder = RecordedRun(tasks=60, steps=4).write(tmp_path / "out")
    page, written = page_of(folder, tmp_path, most_samples=200)
    shown = samples_of(page)
    everything = [sample for number in (1, 2) for sample in read_samples(folder / f"_gift/round-{number}")]
    assert len(everything) == 1440
    assert (written.samples, written.left_out) == (len(shown), 1440 - len(shown))
    assert 150 < len(shown) <= 200
    by_task = Counter(row["task"] for row in shown.values())
    whole = [task for task, count in by_task.items() if count == 24]
    assert len(whole) == 4, "half of the page: four tasks with 24 samples each"
    assert {row["status"] for row in shown.values()} == {sample.status for sample in everything}
    assert sum(bool(row["draws"]) for row in shown.values()) >= 60
    assert "all samples of 4 tasks, drawn at random" in page.words
    assert "Left out: " in page.words
    assert f"{written.samples} of 1,440 samples are in this page" in page.words


def test_long_texts_are_cut_and_the_page_stays_below_5_mb(tmp_path):
    long = "\u4e2d<" * 2500
    program = lambda task, step, index: f"x = {task}, {step}, {index}, '{long}'"  # noqa: E731
    folder = RecordedRun(tasks=300, rounds=1, steps=2, generations=2, program=program).write(tmp_path / "out")
    page, written = page_of(folder, tmp_path, most_samples=100_000)
    assert 3_000_000 < written.bytes < 5_000_000
    assert written.bytes == (tmp_path / "report.html").stat().st_size
    assert written.left_out > 0
    assert "more characters)" in page.data["programs"][-1]


def test_runs_that_lack_something(tmp_path):
    page, _ = page_of(RecordedRun(measured=0, rounds=1).write(tmp_path / "unmeasured"), tmp_path)
    assert "Nothing was measured" in page.words
    page, _ = page_of(RecordedRun(verify=False, rounds=1).write(tmp_path / "unverified"), tmp_path)
    assert "unverified" in page.words
    assert "Pass rate by step" not in page.words
    folder = RecordedRun(rounds=2, options={"num_rounds": 3}).write(tmp_path / "unfinished")
    page, _ = page_of(folder, tmp_path)
    assert "This run is unfinished: 2 of 3 rounds are done." in page.words
    second = folder / "_gift/round-2"
    for name in ("metrics.json", "evaluation.json", "selection.parquet", "samples.parquet"):
        (second / name).unlink()
    page, written = page_of(folder, tmp_path)
    assert "round 2 of 3 has begun" in page.words
    assert written.samples == 72
    for path in [*(folder / "_gift/round-1").iterdir(), *second.iterdir(), folder / "_gift/base.json"]:
        path.unlink()
    page, written = page_of(folder, tmp_path)
    assert "0 of 3 rounds are done" in page.words
    assert written.samples == 0


def test_the_report_of_a_run_lies_beside_its_records(tmp_path):
    folder = RecordedRun(rounds=1).write(tmp_path / "out")
    assert report_of(folder) == folder / "_gift/report.html"
    assert sorted(path.name for path in (folder / "_gift").glob("report*")) == ["report.html"]
    for target, reason in ((tmp_path / "absent/report.html", "no such folder"), (tmp_path, "is a folder")):
        with pytest.raises(ConfigError, match=reason):
            write_report(load_run(folder), target)


@pytest.mark.slow
def test_a_run_of_100_000_samples_takes_little_memory(tmp_path):
    folder = RecordedRun(tasks=834, steps=20).write(tmp_path / "out")
    code = (
        "import sys; from pathlib import Path; from trl_gift.report import load_run, write_report; "
        "written = write_report(load_run(sys.argv[1])); "
        # Not `ru_maxrss`, which begins with what the parent used.
        "kilobytes = Path('/proc/self/status').read_text().partition('VmHWM:')[2].split()[0]; "
        "print(written.bytes, written.left_out, int(kilobytes) // 1024)"
    )
    process = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=True)
    size, missing, megabytes = map(int, process.stdout.split())
    assert size < 5_000_000
    assert missing > 95_000
    assert megabytes < 400


def test_the_heading_and_the_advice_are_those_of_the_command(tmp_path):
    out = RecordedRun(tasks=9).write(tmp_path / "out")
    record = json.loads((out / "_gift/run.json").read_text())
    metrics = out / "_gift/round-2/metrics.json"
    metrics.write_text(json.dumps({**json.loads(metrics.read_text()), "solved_tasks": 5}))
    ends = {
        ("train", "--num_steps", "3"): "A larger --num_steps or --sampler hinted may solve more.",
        ("quickstart", "--steps", "3"): "A larger --steps or --sampler hinted may solve more.",
        None: "A larger num_steps or sampler='hinted' may solve more.",
    }
    for command, advice in ends.items():
        model = "/somewhere/trl_gift/playground/model"
        changed = record | {
            "command": command,
            "model": model,
            "options": record["options"] | {"num_steps": 3, "hint": "failing_test"},
        }
        (out / "_gift/run.json").write_text(json.dumps(changed))
        page, _ = page_of(out, tmp_path)
        assert f"4 of 9 tasks were never solved, so no sampled program was learned for them. {advice}" in page.words
        quickstart = command is not None and command[0] == "quickstart"
        assert ("Quickstart: the playground's model" in page.words) == quickstart


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 2), (0, 3), (0, 7), (0, 9), (0, 40), (0, 200)])
def test_counts_have_whole_marks(low, high):
    marks = charts._ticks(low, high, whole=True)
    assert all(mark == int(mark) for mark in marks)
    assert marks[0] <= low
    assert marks[-1] >= high
    assert 2 <= len(marks) <= 7
