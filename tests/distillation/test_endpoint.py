"""A chat endpoint as it is: slow, limiting, faulty; and what is asked of it, what it costs, what nobody may see."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

pytest.importorskip("openai")

from tests.distillation.samples import RIGHT, task
from tests.support.chat_server import KEY, serve
from trl_gift.distillation.answers import Answers
from trl_gift.distillation.endpoint import ChatWriter, EndpointClient, EndpointOptions, TeacherUnavailable
from trl_gift.distillation.limits import Pace, Prices, Purse
from trl_gift.distillation.questions import load_questions
from trl_gift.errors import ConfigError
from trl_gift.prompts import BasePrompts, Hint, Pinned
from trl_gift.sampling.writers import TeacherSpent

TASK = replace(task("a"), reference="def add(a, b):\n    return sum([a, b])")
HINT = Hint("repair", "assert add(1, 2) == 3\nadd(1, 2) returned 0", "def add(a, b):\n    return 0")


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    monkeypatch.setenv("TEACHER_KEY", KEY)


def client(server, folder, **options):
    return EndpointClient(EndpointOptions("m", folder, server.url, "TEACHER_KEY", **{"retries": 6, **options}))


def ask(opened, questions):
    """The texts of the answers; None where nothing was sent."""
    futures = [opened.ask(question, key) for key, question in enumerate(questions)]
    try:
        return [answer and answer.text for answer in (future.result() for future in futures)]
    finally:
        opened.close()


def drive(coroutine):
    """Runs a writer's coroutine, whose only requests are futures."""
    answer = None
    while True:
        try:
            wait = coroutine.send(answer)
        except StopIteration as stop:
            return stop.value
        answer = [future.result() for future in wait.futures]


def test_faults_are_tried_again(tmp_path):
    with serve(faults=("429", "500", "cut", "page", "empty")) as server:
        assert ask(client(server, tmp_path, concurrency=1), ["q"]) == [server.script.answer("q")]
        assert (len(server.asked), len(server.sent)) == (6, 1)


def test_an_endpoint_that_stays_broken_is_no_mistake_of_the_user(tmp_path):
    broken = (
        ("500", 1, "answers with an error, after 1 further try .Error code: 500"),
        ("429", 0, "answers with an error .Error code: 429"),
        ("cut", 2, "does not answer, after 2 further tries"),
        ("page", 2, "gives answers without a choice"),
    )
    for fault, retries, words in broken:
        with serve(faults=(fault,) * 9) as server, pytest.raises(TeacherUnavailable, match=f"{words}.*resume the run"):
            ask(client(server, tmp_path, retries=retries, concurrency=1), ["q"])
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("fault", "words"), [("401", "refuses the key in TEACHER_KEY"), ("400", "refuses a request")])
def test_a_refusal_is_told_at_once_and_without_the_key(tmp_path, fault, words):
    with serve(faults=(fault,) * 9) as server:
        with pytest.raises(ConfigError, match=words) as raised:
            ask(client(server, tmp_path), ["q"])
        assert len(server.asked) == 1
    assert "***" in str(raised.value)
    assert KEY not in f"{raised.value} {raised.value.__cause__}"


def test_no_answer_is_paid_for_twice(tmp_path):
    with serve() as server:
        first = ask(client(server, tmp_path), ["p", "q", "r"])
        assert len(server.sent) == 3
        (file,) = tmp_path.iterdir()
        torn = file.read_bytes()
        file.write_bytes(torn[: torn.rindex(b"\n", 0, -1) + 9])  # the last answer was cut off by a kill
        assert ask(client(server, tmp_path), ["p", "q", "r"]) == first
        assert len(server.sent) == 4
        assert ask(client(server, tmp_path), ["p", "q", "r"]) == first
        assert len(server.sent) == 4
        other_draws = client(server, tmp_path)
        assert other_draws.ask("p", 7).result().text == first[0]
        other_draws.close()
        assert len(server.sent) == 5
    assert KEY not in "".join(path.read_text() for path in tmp_path.iterdir())


def test_money_is_never_spent_beyond_its_limit(tmp_path):
    prices = Prices(prompt=1000.0, completion=10_000.0)
    most = prices.cost(1 + 100, 30)  # of one request, by its bytes and its longest answer
    with serve() as server:
        for limit, sent in ((0.9 * most, 0), (1.5 * most, 1)):
            options = {"prices": prices, "most_cost": limit, "max_tokens": 30, "concurrency": 4}
            got = ask(client(server, tmp_path, **options), ["q"] * 12)
            # One answer costs 0.2, less than was set aside for it.
            cost = prices.cost(0, 20)
            expected = 0 if not sent else 1 + int((limit - most) / cost)
            assert len(server.sent) == expected == sum(text is not None for text in got)
        kept = Answers(tmp_path).cost
        assert kept == pytest.approx(expected * cost)
        assert kept <= limit
        # What an earlier process has spent counts, and what is known costs nothing.
        again = ask(client(server, tmp_path, **options), ["q"] * 12)
        assert len(server.sent) == expected
        assert sum(text is not None for text in again) == expected


def test_without_a_count_an_answer_costs_the_most_that_it_can(tmp_path):
    prices = Prices(1000.0, 10_000.0)
    with serve(usage=False) as server:
        ask(client(server, tmp_path, prices=prices, max_tokens=30), ["q"])
    assert Answers(tmp_path).cost == pytest.approx(prices.cost(101, 30))


def test_so_many_requests_at_once_and_no_more(tmp_path):
    with serve(pause=0.05) as server:
        ask(client(server, tmp_path, concurrency=3), ["q"] * 9)
        assert server.most_at_once == 3


def test_requests_keep_their_pace():
    now, slept = [100.0], []
    pace = Pace(30, lambda: now[0], slept.append)
    for _ in range(3):
        pace.wait()
    now[0] += 60
    pace.wait()
    assert slept == [2.0, 4.0]
    Pace(None, lambda: 1 / 0).wait()


def test_a_purse_waits_for_what_is_under_way():
    purse, taken = Purse(10.0, spent=1.0), threading.Event()
    assert purse.take(8.0)
    waiting = threading.Thread(target=lambda: purse.take(5.0) and taken.set())
    waiting.start()
    assert not taken.is_set()
    purse.settle(8.0, 3.0)
    waiting.join(5)
    assert taken.is_set()
    purse.settle(5.0, 5.0)
    assert not purse.take(2.0)
    assert purse.take(1.0)


def test_the_body_of_a_request(tmp_path):
    fields = {"max_completion_tokens": 99, "temperature": None, "reasoning_effort": "low"}
    with serve() as server:
        ask(client(server, tmp_path, temperature=0.3, max_tokens=7), ["q"])
        ask(client(server, tmp_path, fields=fields), ["q"])
    first, second = server.sent
    message = {"messages": [{"role": "user", "content": "q"}]}
    assert first == {"model": "m", **message, "temperature": 0.3, "max_tokens": 7, "seed": 0}
    assert second == {"model": "m", **message, "max_completion_tokens": 99, "reasoning_effort": "low", "seed": 0}


def test_a_key_is_needed_where_openai_itself_is_asked(tmp_path, monkeypatch):
    monkeypatch.delenv("TEACHER_KEY")
    with pytest.raises(ConfigError, match="needs a key in the environment variable TEACHER_KEY"):
        EndpointOptions("m", tmp_path, None, "TEACHER_KEY").check()
    EndpointOptions("m", tmp_path, "http://localhost:1/v1", "TEACHER_KEY").check()


def test_an_endpoint_that_is_not_there_is_told_before_a_run_begins(tmp_path):
    """Any answer will do; where answers are kept, nothing is asked."""
    with serve() as server:
        EndpointOptions("m", tmp_path, server.url, "TEACHER_KEY").check_reachable()
        assert not server.asked
    gone = EndpointOptions("m", tmp_path, "http://127.0.0.1:9/v1", "TEACHER_KEY")
    with pytest.raises(
        ConfigError, match=r"'openai:m': nothing answers at http://127\.0\.0\.1:9/v1/ \(.*refused\); start"
    ):
        gone.check_reachable()
    (tmp_path / "answers-1.jsonl").touch()
    gone.check_reachable()
    with serve(key="") as server:
        assert ask(client(server, tmp_path), ["q"])


def write(server, folder, prompts, hint=HINT, shows_reference=False, questions=None, **options):
    opened = client(server, folder, **options)
    try:
        asked = load_questions(questions, Pinned(), shows_reference)
        return drive(ChatWriter(opened, asked, prompts).write(TASK, TASK.description, hint, 1, (5,)))
    finally:
        opened.close()


@pytest.mark.parametrize("thinks", [False, True])
def test_a_program_becomes_a_target_of_the_student(tmp_path, tokenizer, thinks):
    prompts = BasePrompts(tokenizer)
    with serve(programs={TASK.description: RIGHT}, thinks=thinks) as server:
        (written,) = write(server, tmp_path, prompts)
        (question,) = (body["messages"][0]["content"] for body in server.sent)
    assert (written.found.code, written.found.target) == (RIGHT, "    return a + b")
    assert (written.tokens, written.token_ids, written.finish_reason) == (20, (), "eos")
    for part in (TASK.description, "def add(a, b):", HINT.code, HINT.text):
        assert part in question
    assert TASK.reference not in question
    assert prompts.extract(TASK, written.found.target).code == RIGHT


def test_what_is_asked_may_be_replaced(tmp_path, tokenizer):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/repair.txt").write_text("{{ language }}|{{ signature }}|{{ reference }}|{{ feedback }}")
    prompts = BasePrompts(tokenizer)
    with serve(programs={TASK.description: RIGHT}) as server:
        write(server, tmp_path / "a", prompts, questions=tmp_path / "mine")
        write(server, tmp_path / "a", prompts, hint=None, questions=tmp_path / "mine", shows_reference=True)
        write(server, tmp_path / "a", prompts, hint=HINT, questions=tmp_path / "mine", shows_reference=True)
        texts = [body["messages"][0]["content"] for body in server.sent]
    assert texts[0] == f"Python|def add(a, b):|None|{HINT.text}"
    assert TASK.reference in texts[1], "the package's own question for what the folder does not hold"
    assert texts[2] == f"Python|def add(a, b):|{TASK.reference}|{HINT.text}"
    (tmp_path / "mine/repair.txt").write_text("{{ no_such_thing }}")
    with serve() as server, pytest.raises(ConfigError, match=r"repair\.txt cannot be rendered .*no_such_thing"):
        write(server, tmp_path / "b", prompts, questions=tmp_path / "mine")
    with pytest.raises(ConfigError, match=r"holds neither 'solve\.txt' nor 'repair\.txt'"):
        load_questions(tmp_path, Pinned(), False)


def test_spent_money_ends_the_work_on_a_task(tmp_path, tokenizer):
    with serve() as server, pytest.raises(TeacherSpent):
        write(server, tmp_path, BasePrompts(tokenizer), prices=Prices(1.0, 1.0), most_cost=0.0)
    assert not server.asked
