"""The store at size: writing, resuming and compacting many samples in constant memory.

    python benchmarks/store.py --rows 1000000

Writes synthetic samples through the project's own store, opens an index over them as a resumed run does, reads a few
steps, and compacts to Parquet. Each stage runs in a process of its own, whose peak memory is printed; it must not grow
with the number of rows. With `--json` the last line is one JSON object; `ratios` compares the peak memory at the full
number of rows with that at a tenth of it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from pathlib import Path

CODES, STEPS = 3, 20
STAGES = ("write", "resume", "compact")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    figures = {}
    for rows in (options.rows // 10, options.rows):
        with tempfile.TemporaryDirectory() as folder:
            for stage in STAGES:
                figures[stage, rows] = measure(stage, Path(folder), rows)
                seconds, megabytes = figures[stage, rows]
                print(
                    f"{stage:<8} {rows:>9,} rows: {seconds:7.1f} s, {rows / seconds:9,.0f} rows/s, peak {megabytes:6.0f} MB",
                    flush=True,
                )
    ratios = {
        f"{stage} memory": figures[stage, options.rows][1] / figures[stage, options.rows // 10][1] for stage in STAGES
    }
    if options.json:
        print(json.dumps({"rows": options.rows, "ratios": ratios}))


def measure(stage: str, folder: Path, rows: int) -> tuple[float, float]:
    """Seconds and peak resident memory (MB) of one stage in a fresh process."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=run, args=(stage, folder, rows, sender))
    process.start()
    sender.close()  # so that a process that fails ends the wait
    try:
        result = receiver.recv()
    except EOFError:
        sys.exit(f"the stage {stage!r} failed")
    process.join()
    return result


def run(stage: str, folder: Path, rows: int, sender) -> None:
    from trl_gift.sampling.store import SampleIndex, SampleStore, write_parquet

    started = time.perf_counter()
    if stage == "write":
        with SampleStore(folder) as store:
            for row in range(rows):
                store.append(synthetic(row))
    elif stage == "resume":
        with SampleIndex(folder) as index:
            assert len(index) == rows
            assert len(index.step("task-0", 0)) == CODES
    else:
        write_parquet(folder)
    # Kilobytes on Linux.
    sender.send((time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def synthetic(row: int):
    from trl_gift.sampling.records import CodeSample

    task, rest = divmod(row, CODES * STEPS)
    step, index = divmod(rest, CODES)
    body = f"    return sum(x * {row % 97} for x in xs if x % {step + 1} == {index})"
    return CodeSample(
        task_id=f"task-{task}", round=1, step=step, index=index, parent=None, sampler="gibbs", hint=None, description="d" * 80,
        description_tokens=20, description_tries=1, description_leaks=0, read_reference=False, prompt_hash="0" * 16, completion=body, no_code_kind=None, no_code_reason=None, code="def solve(xs):\n" + body, target=body,
        token_ids=tuple(range(40)), finish_reason="eos", logprob_sum=-12.5, num_scored=40, scored=False,
        status="passed" if row % 3 else "failed", outcome={"status": "passed", "results": []}, continues=not row % 3,
        model_hash="0" * 16, seed=0, created=1.0,
    )  # fmt: skip


if __name__ == "__main__":
    main()
