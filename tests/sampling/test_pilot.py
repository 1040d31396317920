"""The pilot draws a few programs at several temperatures and takes the one that gives the most distinct passing ones."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.engines import TemperedTableEngine
from tests.support.tiny_runs import TinyRun
from tests.support.worlds import TablePrompts, TableSandbox, make_task, settings
from trl_gift.cli.arguments import parse
from trl_gift.generation import SamplingParams
from trl_gift.sampling.pilot import (
    TEMPERATURES,
    PilotResult,
    best_temperature,
    merged,
    pilot_line,
    pilot_tasks,
    try_temperatures,
)

CODE = SamplingParams(7, temperature=1.0, top_p=0.9, top_k=5)


def tasks_of(count):
    return [make_task(f"t{number}") for number in range(count)]


def tried(row, accepts, count=60):
    engine = TemperedTableEngine([row])
    seen = []
    results = try_temperatures(
        tasks_of(count), engine, TableSandbox(accepts), TablePrompts(), settings(code_params=CODE), seen.append
    )
    return engine, seen, results


def test_every_temperature_is_tried_alike_but_for_itself():
    engine, seen, results = tried([0.5, 0.3, 0.2], lambda program: program == "c0")
    assert [result.temperature for result in results] == list(TEMPERATURES)
    assert [result.samples for result in results] == [240] * 5
    assert sum(seen) == sum(result.passed for result in results)
    assert len(seen) == 5 * 240
    by_task = {}
    for request in engine.requests:
        params = request.params
        assert (params.max_new_tokens, params.top_p, params.top_k) == (7, 0.9, 5)
        by_task.setdefault(request.key[1], {})[params.temperature] = request.stream_keys
    assert all(set(found) == set(TEMPERATURES) for found in by_task.values())
    assert all(len(set(found.values())) == 1 for found in by_task.values()), "the same streams at every temperature"
    keys = {key for found in by_task.values() for key in found[1.0]}
    assert len(keys) == 240


def test_a_model_whose_best_guess_passes_is_sampled_cool_and_one_whose_other_guesses_pass_hot():
    weak = tried([0.12, *[0.01] * 88], lambda program: program == "c0")[2]
    assert best_temperature(weak) <= 0.4
    strong = tried([0.4, *[0.2] * 3], lambda program: True)[2]
    assert best_temperature(strong) == 1.0
    passed = [result.passed for result in weak]
    assert passed == sorted(passed, reverse=True)
    assert weak[0].solved_tasks == 60 == weak[0].distinct_programs


def test_of_equal_ones_the_higher_and_of_none_the_lowest():
    def result(temperature, passed, distinct):
        return PilotResult(temperature, 8, passed, distinct, distinct)

    assert best_temperature([result(0.2, 5, 2), result(0.6, 3, 2), result(1.0, 9, 1)]) == 0.6
    nothing = [result(0.2, 0, 0), result(1.0, 0, 0)]
    assert best_temperature(nothing) == 0.2
    assert "pass rate of zero" in pilot_line(nothing, 0.2)
    line = pilot_line([result(0.2, 5, 2), result(1.0, 1, 1)], 0.2)
    assert line.startswith("temperature=0.2, chosen by a pilot: of 8 programs each passed 5 at 0.2, 1 at 1; ")


def test_the_results_of_processes_add_up():
    one = [PilotResult(1.0, 8, 3, 2, 2), PilotResult(0.2, 8, 1, 1, 1)]
    assert merged([*one, PilotResult(0.2, 4, 2, 2, 2), PilotResult(1.0, 4, 0, 0, 0)]) == [
        PilotResult(0.2, 12, 3, 3, 3),
        PilotResult(1.0, 12, 3, 2, 2),
    ]


@pytest.mark.parametrize(("tasks", "steps", "count"), [(3, 20, 3), (12, 20, 3), (40, 20, 3), (400, 20, 3)])
def test_it_costs_a_small_part_of_a_round(tasks, steps, count):
    chosen = settings(num_steps=steps, num_generations=count)
    found = pilot_tasks(tasks_of(tasks), chosen)
    assert len({task.task_id for task in found}) == len(found) == min(tasks, 32, max(4, tasks * steps * count // 200))
    assert found == pilot_tasks(tasks_of(tasks), chosen)
    others = [pilot_tasks(tasks_of(tasks), settings(seed=seed, num_steps=steps)) for seed in range(4)]
    assert tasks < 5 or any(other != found for other in others)
    assert np.diff([int(task.task_id[1:]) for task in found]).min() > 0, "in the order of the tasks"


def test_a_run_asks_once_writes_it_down_and_draws_all_rounds_so(tmp_path, tokenizer, capsys):
    run = TinyRun(tmp_path, tokenizer, temperature="auto", num_rounds=2)
    record = run.read("pilot.json")
    chosen = record["temperature"]
    assert chosen == best_temperature([PilotResult(**result) for result in record["results"]])
    asked = run.asked("pilot")
    assert len(asked) == len({request.key for request in asked})
    assert {request.params.temperature for request in asked} == set(TEMPERATURES)
    first_of_round = next(place for place, request in enumerate(run.requests) if request.key[0] == "write")
    assert first_of_round >= len(asked), "the pilot comes before the first round, and only once"
    assert run.params("write", "temperature") == {chosen}
    assert f"temperature={chosen:g}, chosen by a pilot" in capsys.readouterr().err
    assert run.read("run.json")["options"]["temperature"] == "auto"


def test_the_command_line_takes_a_number_or_the_word():
    def given(*flags):
        base = ["--model_name_or_path", "playground", "--dataset_name", "playground", "--use_cpu", "--bf16", "false"]
        return parse("train", [*base, *flags])[1].temperature

    assert given() == 1.0
    assert given("--temperature", "0.3") == 0.3
    assert given("--temperature", "auto") == "auto"
