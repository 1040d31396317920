"""Shared fixtures: tiny models and tokenizers made on the spot; nothing is downloaded."""

from __future__ import annotations

import gc
import importlib.util
import itertools
import os

# Two threads on a shared machine are many times slower than one.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest

# Their assertions explain themselves as those of test modules do.
pytest.register_assert_rewrite("tests.support")

from tests import own_warnings  # noqa: E402
from tests.support.models import make_model  # noqa: E402
from tests.support.tokenizer_kinds import small_tokenizer  # noqa: E402

_NUMBERS = itertools.count()


if importlib.util.find_spec("hypothesis"):  # the contract tests do without it
    import hypothesis

    # How long an example takes depends on what else the machine does.
    hypothesis.settings.register_profile(
        "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
    )
    hypothesis.settings.load_profile("any machine")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config):
    """A process for each CPU, at most four of a gigabyte; a selection runs in this one, which is ready sooner."""
    if config.args_source is not pytest.Config.ArgsSource.TESTPATHS or config.option.keyword:
        return 0
    return min(len(os.sched_getaffinity(0)), 4)


def _watched():
    """A deprecation that our own call runs into is an error, in fixtures and in tests."""
    with own_warnings.watch() as found:
        result = yield
    if found:
        pytest.fail("our own calls raise deprecations:\n" + "\n".join(map(str, dict.fromkeys(found))), pytrace=False)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item):
    return (yield from _watched())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    return (yield from _watched())


@pytest.fixture(scope="session", autouse=True)
def _no_cache_of_the_user(tmp_path_factory):
    os.environ["TRL_GIFT_CACHE"] = folder = str(tmp_path_factory.mktemp("cache"))
    return folder


@pytest.fixture(autouse=True)
def _own_cache(_no_cache_of_the_user, monkeypatch):
    """No test finds what another test has measured. The test that writes first makes the folder."""
    monkeypatch.setenv("TRL_GIFT_CACHE", os.path.join(_no_cache_of_the_user, str(next(_NUMBERS))))


@pytest.fixture(scope="module", autouse=True)
def _imports_are_no_garbage():
    """Each training collects garbage, for half a second if it searches a million objects of imported libraries."""
    gc.collect()
    gc.freeze()
    frozen = gc.get_freeze_count()
    with pytest.MonkeyPatch.context() as patch:
        # The scheduler asks for it before each sampling, and counting a million objects takes longer than a small one.
        patch.setattr(gc, "get_freeze_count", lambda: frozen)
        yield


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tokenizer():
    """A byte-level BPE tokenizer of about 300 tokens with an end and a padding token."""
    return small_tokenizer()


@pytest.fixture(scope="session")
def chat_tokenizer_factory(tokenizer):
    """Makes a tokenizer with marks of turns and thoughts, a chat template and an end token."""
    import copy

    def make(template, eos):
        clone = copy.deepcopy(tokenizer)
        clone.add_special_tokens({"bos_token": "<s>", "extra_special_tokens": ["<|im_start|>", "<|im_end|>"]})
        clone.add_tokens(["<think>", "</think>"])
        clone.eos_token = eos
        clone.chat_template = template
        return clone

    return make


@pytest.fixture(scope="session")
def model_factory(tokenizer):
    def factory(**kwargs):
        return make_model(tokenizer, **kwargs)

    return factory


@pytest.fixture(scope="session")
def model(model_factory):
    return model_factory(end_bias=2.0)


@pytest.fixture
def model_folder(tmp_path, tokenizer, model_factory):
    """A tiny model saved as a checkpoint folder."""
    folder = tmp_path / "model"
    model_factory().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def whole_runs(tmp_path_factory):
    """Uninterrupted runs of `run_trainer.py`, full and LoRA, made when first asked for: their results and folders."""
    from tests.support.whole_runs import finish

    made = {}

    def get(lora):
        if lora not in made:
            output = tmp_path_factory.mktemp("whole") / "out"
            made[lora] = finish(output, *(["--lora"] if lora else [])), output
        return made[lora]

    return get
