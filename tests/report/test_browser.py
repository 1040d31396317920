"""The report in a real browser: it says nothing on the console, its filters work, and no text of a model runs."""

from __future__ import annotations

import json

import pytest

from tests.support import chromium
from tests.support.recorded_runs import HOSTILE, RecordedRun, hostile_run, in_edits
from trl_gift.lintseq import DIFF_TOKEN
from trl_gift.report import load_run, write_report
from trl_gift.sampling.store import read_samples

pytestmark = pytest.mark.skipif(chromium.FOUND is None, reason="no Chromium on the PATH")
LISTED = "[...document.querySelectorAll('#list .second')].map((one) => one.textContent)"
COUNT = "document.getElementById('count').textContent"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = chromium.Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return RecordedRun(tasks=5).write(tmp_path_factory.mktemp("run") / "out")


@pytest.fixture
def page(browser, folder, tmp_path):
    write_report(load_run(folder), tmp_path / "report.html")
    browser.complaints.clear()
    browser.open(tmp_path / "report.html")
    yield browser
    assert browser.complaints == []


@pytest.fixture(scope="module")
def samples(folder):
    return [sample for number in (1, 2) for sample in read_samples(folder / f"_gift/round-{number}")]


def fill(page, name, value):
    page.run(f"(() => {{ const field = document.getElementById('{name}'); field.value = {json.dumps(value)};"
             " field.dispatchEvent(new Event('input')); field.dispatchEvent(new Event('change')); })()")  # fmt: skip


def test_filters_find_what_the_records_hold(page, samples):
    assert page.run(COUNT) == f"{len(samples)} samples"
    for status in sorted({sample.status for sample in samples}):
        chip = f"document.querySelector('.chip[data-status={status}]')"
        page.run(f"{chip}.click()")
        wanted = [sample for sample in samples if sample.status == status]
        assert page.run(COUNT).split()[0] == str(len(wanted))
        assert all(f" · {status.replace('_', ' ')}" in line for line in page.run(LISTED))
        page.run(f"{chip}.click()")
    fill(page, "round", "2")
    assert page.run(COUNT) == "45 samples"
    fill(page, "task", "tasks/00003")
    assert page.run(COUNT) == "9 samples"
    program = next(
        sample.code for sample in samples if sample.round == 2 and sample.task_id == "tasks/00003" and sample.code
    )
    number = program.strip().rpartition(" ")[2]
    fill(page, "search", f"a + B + {number}")
    wanted = [one for one in samples if (one.round, one.task_id, one.code) == (2, "tasks/00003", program)]
    assert page.run(COUNT).split()[0] == str(len(wanted))
    for name in ("search", "task", "round"):
        fill(page, name, "")
    page.run("document.getElementById('trained').click()")
    assert 0 < int(page.run(COUNT).split()[0]) < len(samples)
    assert page.run("document.querySelectorAll('#list .draws').length") == page.run(
        "document.querySelectorAll('#list li').length"
    )
    fill(page, "search", "nothing has this text")
    assert page.run(COUNT) == "0 samples"


def test_a_chain_is_a_story_with_its_differences_and_failures(page, samples):
    one = next(sample for sample in samples if sample.parent and sample.status == "failed")
    parent = next(sample for sample in samples if sample.sample_id == one.parent)
    fill(page, "task", one.task_id)
    fill(page, "round", str(one.round))
    where = f"round {one.round} · step {one.step} · #{one.index} "
    page.run(
        f"[...document.querySelectorAll('#list button')].find((item) => item.textContent.includes({json.dumps(where)})).click()"
    )
    assert page.run("document.querySelectorAll('#story .step').length") == 3
    assert page.run("document.querySelectorAll('#story .program').length") == 9
    chosen = "document.querySelector('#story .chosen')"
    assert page.run(f"{chosen}.querySelector('pre').textContent") == one.code
    assert page.run(f"{chosen}.querySelector('pre .k').textContent") == "def"
    assert page.run(f"{chosen}.querySelector('.message').textContent") == f"Test 1: failed{one.outcome['message']}"
    step = f"document.querySelectorAll('#story .step')[{one.step}]"
    assert page.run(f"{step}.querySelector('.words').textContent") == one.description
    assert f"program of step {parent.step}, #{parent.index}" in page.run(f"{step}.querySelector('.arrow').textContent")
    if one.code != parent.code:
        page.run(f"{chosen}.querySelector('.tool').click()")
        changed = page.run(f"[...{chosen}.querySelectorAll('.removed, .added')].map((line) => line.textContent)")
        assert changed == [f"− {parent.code.splitlines()[1]}", f"+ {one.code.splitlines()[1]}"]
        page.run(f"{chosen}.querySelector('.tool').click()")
        assert page.run(f"{chosen}.querySelector('pre').textContent") == one.code


@pytest.mark.parametrize("keeps_base", [True, False])
def test_a_task_that_was_gained_or_lost_opens_its_programs(browser, tmp_path, keeps_base):
    write_report(load_run(RecordedRun(keeps_base=keeps_base).write(tmp_path / "out")), tmp_path / "report.html")
    browser.complaints.clear()
    browser.open(tmp_path / "report.html")
    name = browser.run("document.querySelector('button[data-task]').dataset.task")
    browser.run("document.querySelector('button[data-task]').click()")
    assert browser.run(COUNT) == "3 evaluated programs"
    assert browser.run("document.querySelector('#story h3').textContent") == name
    base, *after = browser.run("[...document.querySelectorAll('#story .program')].map((one) => one.textContent)")
    assert len(after) == 2
    assert ("return 0" in base) == keeps_base
    assert ("not the program" in base) != keeps_base
    assert all(f"return {number}" in text for number, text in enumerate(after, 1))
    assert all(("First failing testassert one() == 1" in text) == text.startswith("failed") for text in after)
    assert browser.run("document.querySelectorAll('#story .tool:not(#close)').length") == 2 * keeps_base
    assert browser.complaints == []


PROGRAM = "def add(a, b):\n    total = a + b\n    return total"


def test_a_program_in_edits_grows_by_buttons_and_by_the_slider(browser, tmp_path):
    run = RecordedRun(tasks=1, rounds=1, program=lambda *_: PROGRAM, write_text=in_edits)
    write_report(load_run(run.write(tmp_path / "out")), tmp_path / "report.html")
    browser.complaints.clear()
    browser.open(tmp_path / "report.html")
    box = "document.querySelector('#story .chosen')"
    code = f"[...{box}.querySelectorAll('pre .row')].map((line) => line.textContent)"
    shown = f"{box}.querySelector('output').textContent"
    mode = f"{box}.querySelector('.tools button')"
    assert browser.run(f"{box}.querySelector('pre').textContent") == PROGRAM
    assert browser.run(f"{box}.querySelector('.stepper').hidden")
    browser.run(f"{mode}.focus(), {mode}.click()")
    assert browser.run(code) == ["+ def add(a, b):", "+     pass"]
    assert browser.run(shown) == "edit 1 of 3 · +2"
    assert browser.run(f"{mode}.getAttribute('aria-pressed')") == "true"
    browser.run(f"{box}.querySelector('[aria-label=\"Next edit\"]').click()")
    assert browser.run(code) == ["  def add(a, b):", "−     pass", "+     total = a + b"]
    assert browser.run(shown) == "edit 2 of 3 · +1 · −1"
    for key in ("ArrowRight", "ArrowRight"):
        browser.press(key, f"{box}.querySelector('input')")
    assert browser.run(code) == ["  def add(a, b):", "      total = a + b", "+     return total"]
    assert browser.run(f"{box}.querySelector('[aria-label=\"Next edit\"]').getAttribute('aria-disabled')") == "true"
    browser.run(f"{mode}.click()")
    assert browser.run(f"{box}.querySelector('pre').textContent") == PROGRAM
    assert DIFF_TOKEN not in browser.run("document.getElementById('story').textContent")
    browser.open(tmp_path / "report.html", width=400, height=800, dark=True)
    browser.run("document.querySelector('.chip[data-status=passed]').click()")
    browser.run("document.querySelector('#list button').click()")
    browser.run(f"{mode}.click()")
    assert browser.run("document.getElementById('story').scrollWidth") == 400
    assert browser.complaints == []


def test_a_phone_has_nothing_to_scroll_sideways_and_the_story_over_the_page(browser, folder, tmp_path):
    write_report(load_run(folder), tmp_path / "report.html")
    browser.complaints.clear()
    browser.open(tmp_path / "report.html", width=400, height=800)
    assert browser.run("document.documentElement.scrollWidth") == 400
    assert browser.run("document.getElementById('story').hidden")
    browser.run("document.querySelector('#list button').click()")
    assert browser.run("document.getElementById('story').getBoundingClientRect().width") == 400
    assert browser.run("document.getElementById('story').scrollWidth") == 400
    browser.run("document.getElementById('close').click()")
    assert browser.run("document.getElementById('story').hidden")
    assert browser.complaints == []


@pytest.mark.parametrize(
    ("width", "groups"), [(1300, ("measured", "costs")), (900, ("measured", "costs")), (400, ("measured",))]
)
def test_tables_are_not_cut(browser, folder, tmp_path, width, groups):
    write_report(load_run(folder), tmp_path / "report.html")
    browser.open(tmp_path / "report.html", width=width)
    for group in groups:
        sizes = f"[...document.querySelectorAll('.{group} .scroll')].map((one) => [one.scrollWidth, one.clientWidth])"
        found = browser.run(sizes)
        assert found
        assert all(wanted <= shown for wanted, shown in found), group


@pytest.mark.parametrize("width", [1300, 1000, 400])
def test_a_wide_table_is_whole_and_its_rows_keep_their_names_on_a_line(browser, tmp_path, width):
    out = RecordedRun().write(tmp_path / "out")
    for number in (1, 2):
        path = out / f"_gift/round-{number}/metrics.json"
        record = json.loads(path.read_text())
        stages = {"sampling": 3600.0, "selection": 0.1, "training": 7200.0, "evaluation": 75.0}
        path.write_text(json.dumps({**record, "seconds": {**stages, "total": 11000.0}}))
    write_report(load_run(out), tmp_path / "report.html")
    browser.open(tmp_path / "report.html", width=width)
    table = "document.querySelector('.costs table')"
    assert browser.run(f"{table}.className") == "many"
    wanted, shown = browser.run(
        f"(() => {{ const one = {table}.parentElement; return [one.scrollWidth, one.clientWidth]; }})()"
    )
    assert wanted <= shown
    names = "[...document.querySelectorAll('tbody th')].filter((one) => one.textContent.startsWith('round '))"
    lines = "(one) => { const range = document.createRange(); range.selectNodeContents(one); return range.getClientRects().length; }"
    found = browser.run(f"{names}.map({lines})")
    assert found
    assert set(found) <= {0, 1}, "none is on two lines; what is folded has none"
    if width == 400:
        shown = browser.run(f"getComputedStyle({table}.querySelector('td'), '::before').content")
        assert shown == '"tokens"'


def test_a_long_name_breaks_at_its_slashes(browser, tmp_path):
    run = RecordedRun(task_id=lambda task: f"a_set/of-many-words/{task:03d}")
    write_report(load_run(run.write(tmp_path / "out")), tmp_path / "report.html")
    browser.open(tmp_path / "report.html", width=1000)
    parts = browser.run("[...document.querySelector('#list .name').childNodes].map((one) => one.nodeName)")
    assert parts == ["#text", "WBR", "#text", "WBR", "#text", "WBR", "#text"]
    assert browser.run("document.querySelector('#list .name').textContent").endswith("/000")


@pytest.mark.parametrize("width", [1300, 400])
def test_long_names_stay_in_their_boxes(browser, tmp_path, width):
    run = RecordedRun(task_id=lambda task: f"{task}-" + "x" * 300)
    write_report(load_run(run.write(tmp_path / "out")), tmp_path / "report.html")
    browser.open(tmp_path / "report.html", width=width)
    browser.run("document.querySelector('#list button').click()")
    assert browser.run("document.documentElement.scrollWidth") <= width
    wide = (
        "[...document.querySelectorAll('#list *, #story, #story *:not(pre, pre *, .snippet), .changes *')]"
        ".filter((one) => !one.classList.contains('snippet') && one.scrollWidth > one.clientWidth + 1 && one.clientWidth)"
        ".map((one) => one.outerHTML.slice(0, 80))"
    )
    assert browser.run(wide) == []


@pytest.mark.parametrize("dark", [False, True])
def test_the_theme_is_that_of_the_system_until_it_is_switched(browser, folder, tmp_path, dark):
    write_report(load_run(folder), tmp_path / "report.html")
    browser.open(tmp_path / "report.html", dark=dark)
    ground = "getComputedStyle(document.body).backgroundColor"
    first = browser.run(ground)
    assert first == ("rgb(20, 22, 26)" if dark else "rgb(247, 247, 245)")
    browser.run("document.getElementById('theme').click()")
    assert browser.run(ground) == ("rgb(247, 247, 245)" if dark else "rgb(20, 22, 26)")
    browser.run("localStorage.clear()")


def test_no_text_of_a_model_runs(browser, tmp_path):
    run = load_run(hostile_run().write(tmp_path / "out"))
    write_report(run, tmp_path / "report.html")
    browser.complaints.clear()
    browser.open(tmp_path / "report.html")
    fill(browser, "round", "1")
    browser.run("(() => { const more = document.getElementById('more'); while (!more.hidden) more.click();"
                " for (const item of document.querySelectorAll('#list button')) item.click(); })()")  # fmt: skip
    shown = set()
    for number in range(len(HOSTILE)):
        browser.run(f"document.querySelectorAll('#list button')[{number * 9}].click()")
        shown |= set(browser.run("[...document.querySelectorAll('#story .words')].map((one) => one.textContent)"))
        assert browser.run("document.querySelectorAll('#story script, #story img, #list img').length") == 0
    assert shown == {sample.description for sample in run.read_samples(1)}
    assert browser.run("document.title") == "tiny/model – trl_gift report"
    assert browser.complaints == []
