"""The sandbox of many machines, on a real Ray cluster of two nodes on this one."""

from __future__ import annotations

import time

import pytest

from tests.sandbox.attacks import ATTACKS
from tests.support.processes import BACKSTOP_S
from tests.support.programs import ADD, ENDLESS, SLEEP
from trl_gift.sandbox import (
    AssertTests,
    Case,
    Limits,
    Sandbox,
    SandboxClosed,
    Status,
    StdioTests,
    ToolchainMissing,
    languages,
)
from trl_gift.sandbox.languages import add_language_file

pytestmark = pytest.mark.slow
ray = pytest.importorskip("ray")

ADDS = AssertTests("assert add(1, 2) == 3", entry_point="add")


def test_both_nodes_run_programs(ray_pool):
    assert isinstance(ray_pool, Sandbox)
    assert len(ray_pool._nodes) == 2
    assert "seccomp" in ray_pool.isolation
    outcomes = list(ray_pool.map([(ADD, ADDS), ("def add(a, b): return 0", ADDS)] * 20))
    assert [index for index, _ in outcomes] == list(range(40))
    assert [outcome.status for _, outcome in outcomes] == [Status.PASSED, Status.FAILED] * 20
    assert all(outcome.trusted and outcome.isolation == ray_pool.isolation for _, outcome in outcomes)


def test_stdio_and_limits(ray_pool):
    assert ray_pool.run("print(int(input()) + 1)", StdioTests([Case(stdin="1", stdout="2")])).passed
    assert ray_pool.run("while True: pass", ADDS, limits=Limits(cpu_s=0.3, wall_s=BACKSTOP_S)).status is Status.TIMEOUT


def test_the_nodes_run_languages_of_own_files(ray_pool, tmp_path):
    path = tmp_path / "shell.yaml"
    path.write_text(
        "title: Shell\ntags: [shell]\ncomment: '#'\nsource: main.sh\nrun: [sh, '{source}']\npackage: dash\n"
    )
    tests = StdioTests([Case(stdin="1\n", stdout="2")], language=add_language_file(path).name)
    try:
        outcome = ray_pool.run("read x\necho $((x + 1))", tests)
        path.write_text(path.read_text().replace("[sh,", "[no-such-shell,"))
        add_language_file(path)
        with pytest.raises(ToolchainMissing, match=r"on a node of the Ray cluster: .*no-such-shell"):
            ray_pool.run("read x", tests)
    finally:
        del languages._own["shell"]
    assert outcome.passed, outcome.message


def test_attacks_are_held(ray_pool):
    sample = [attack for attack in ATTACKS if attack.family == "forge"][:40]
    assert not [a.name for a in sample for tests in a.tests if ray_pool.run(a.source, tests, limits=a.limits).passed]


def test_cancelling(ray_pool):
    futures = [ray_pool.submit(SLEEP, ADDS, limits=ENDLESS) for _ in range(4)]
    time.sleep(1)
    assert all(future.cancel() for future in futures)
    started = time.monotonic()
    assert ray_pool.run(ADD, ADDS).passed
    assert time.monotonic() - started < BACKSTOP_S


def test_a_lost_actor_is_replaced(ray_pool):
    future = ray_pool.submit(f"import time\ntime.sleep(1)\n{ADD}", ADDS)
    time.sleep(0.3)
    for node in list(ray_pool._nodes):
        ray.kill(node.actor)
    outcome = future.result(BACKSTOP_S)
    assert outcome.passed
    assert outcome.attempts == 2
    assert ray_pool.run(ADD, ADDS).passed


def test_closed(cluster):
    from trl_gift.sandbox import RaySandbox

    ray_pool = RaySandbox()
    ray_pool.close()
    with pytest.raises(SandboxClosed):
        ray_pool.submit(ADD, ADDS)
