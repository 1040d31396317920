"""The line of a server's log that says why it failed, in logs of a real vLLM 0.32, shortened."""

from __future__ import annotations

import pytest

from trl_gift.generation.server.faults import cause

NO_MEMORY = """
(Worker pid=2) ERROR 11-28 19:55:59 [multiproc_executor.py:990]   File "cpu_worker.py", line 83, in __init__
(Worker pid=2) ERROR 11-28 19:55:59 [multiproc_executor.py:990] ValueError: Available memory on node 0 (13.97/23.54 GiB) is less.
(EngineCore pid=1) RuntimeError: Worker failed with error 'Available memory', please check the stack trace above for the root cause
Traceback (most recent call last):
    raise RuntimeError(
RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore': 1}
"""
KILLED = """
(APIServer pid=1) INFO 11-28 19:39:13 [launcher.py:195] Route: /v1/completions, Methods: POST
(EngineCore pid=2) ERROR 11-28 19:55:16 [multiproc_executor.py:306] Worker proc VllmWorker-0 died unexpectedly, shutting down executor.
(APIServer pid=1) ERROR 11-28 19:55:16 [async_llm.py:700] vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue.
RuntimeError: Executor failed.
nanobind: leaked 4 instances!
resource_tracker.py:254: UserWarning: resource_tracker: There appear to be 1 leaked semaphore objects
"""
REFUSED = """
pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig
  Value error, User-specified max_model_len (99999) is greater than the derived max_model_len (8192).
    For further information visit https://errors.pydantic.dev/2.14/v/value_error
"""
NOT_VLLM = """
Traceback (most recent call last):
importlib.metadata.PackageNotFoundError: No package metadata was found for vllm
"""


@pytest.mark.parametrize(
    ("log", "line"),
    [
        (NO_MEMORY, "ValueError: Available memory on node 0 (13.97/23.54 GiB) is less."),
        (KILLED, "Worker proc VllmWorker-0 died unexpectedly, shutting down executor."),
        (
            REFUSED,
            "Value error, User-specified max_model_len (99999) is greater than the derived max_model_len (8192).",
        ),
        (NOT_VLLM, "importlib.metadata.PackageNotFoundError: No package metadata was found for vllm"),
        (
            "RuntimeError: Engine core failed. See root cause above.\n",
            "RuntimeError: Engine core failed. See root cause above.",
        ),
        ("torch.OutOfMemoryError: CUDA out of memory.\nbye\n", "torch.OutOfMemoryError: CUDA out of memory."),
        ("hello\nbye\n\n", "bye"),
        ("WARNING [utils.py:1] errors like `OSError: [Errno 24]`\nINFO: 200 OK\n100% 1/1 [00:00, 4.3it/s]\n", ""),
        ("", ""),
    ],
    ids=[
        "no memory",
        "killed",
        "refused",
        "not vllm",
        "only a consequence",
        "out of memory",
        "no error",
        "only a warning",
        "empty",
    ],
)
def test_the_cause(log, line):
    assert cause(log).endswith(line)
    assert bool(cause(log)) == bool(line)
