"""Progress in a log is a line at every tenth, and a bar elsewhere."""

from __future__ import annotations

import io

from tqdm.auto import tqdm

from trl_gift.common import bars
from trl_gift.common.bars import PlainBar, draws_bars, progress_bar
from trl_gift.sampling.progress import SamplingProgress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_log_gets_ten_lines(capsys):
    with PlainBar(400, "round 1: sampling", "sample", pause_s=0) as bar:
        for number in range(400):
            bar.set_postfix_str(f"{number + 1} tokens", refresh=False)
            bar.update(1)
            bar.refresh()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 10
    assert lines[0] == "round 1: sampling: 40 of 400 samples, 40 tokens"
    assert lines[-1] == "round 1: sampling: 400 of 400 samples, 400 tokens"


def test_a_jump_is_one_line_and_a_disabled_bar_none(capsys):
    bar = PlainBar(3, "validating", "program", pause_s=0)
    bar.update(2)
    bar.update(0)
    assert capsys.readouterr().err == "validating: 2 of 3 programs\n"
    quiet = PlainBar(3, "validating", "program", disable=True)
    quiet.update(3)
    assert (quiet.n, capsys.readouterr().err) == (3, "")


def test_what_is_soon_done_is_one_line(capsys):
    bar = PlainBar(4, "validating", "program", pause_s=1e9)
    for _ in range(4):
        bar.update(1)
    assert capsys.readouterr().err == "validating: 4 of 4 programs\n"


def test_a_terminal_and_a_notebook_have_bars(monkeypatch):
    assert draws_bars(Terminal())
    assert not draws_bars(io.StringIO())
    monkeypatch.setitem(bars.sys.modules, "ipykernel", bars)
    assert draws_bars(io.StringIO())
    assert isinstance(progress_bar(1, "x", "y", disable=True), tqdm)


def test_an_estimated_total_is_never_below_what_is_done(capsys):
    with SamplingProgress("repairing", 1, disable=False) as progress:
        progress.skip(1)
        progress.add(True, 8)
        progress.expect(1)
        progress.add(False, 16)
    lines = [line.partition(",")[0] for line in capsys.readouterr().err.splitlines()]
    assert lines
    assert all(done == total for done, total in (line.split()[1:4:2] for line in lines))
