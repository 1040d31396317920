from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hub.fake_hub import BASE, PERSON, TOKEN, FakeHub, Repo
from trl_gift.playground import model_path

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def push_cases(tmp_path_factory):
    """Runs cases of `pushing.py` against a new fake Hub; returns the Hub and what the script saw."""

    def run(cases, launcher=(sys.executable,), broken=(), existing=(), **environment):
        home = tmp_path_factory.mktemp("home") / PERSON
        home.mkdir()
        with FakeHub(TOKEN) as hub:
            hub.broken.update(broken)
            hub.models.update({name: Repo(private) for name, private in dict(existing).items()})
            hub.models[BASE] = Repo(False)
            names = ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
                     "tokenizer_config.json", "README.md")  # fmt: skip
            hub.models[BASE].files.update({name: (model_path() / name).read_bytes() for name in names})
            for number, case in enumerate(cases):
                case["options"].setdefault("output_dir", str(home / f"run-{number}"))
            (home / "cases.json").write_text(json.dumps(cases))
            variables = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
            variables |= {
                "HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(home / "cache"),
                "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DOWNLOAD_TIMEOUT": "120", "HF_HUB_ETAG_TIMEOUT": "120", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "OMP_NUM_THREADS": "1",
                "PYTHONPATH": str(REPOSITORY), "USER": PERSON, "LOGNAME": PERSON, **environment,
            }  # fmt: skip
            command = [*launcher, "-m", "tests.hub.pushing", str(home / "cases.json")]
            process = subprocess.run(
                command, capture_output=True, text=True, env=variables, cwd=home, timeout=1800, check=False
            )
            assert process.returncode == 0, process.stderr[-4000:]
            hub.stderr = process.stderr
            return hub, json.loads(process.stdout.splitlines()[-1])

    return run
