"""The package installs and is found: one version, a README that a registry can render, pages and settings that agree."""

from __future__ import annotations

import email
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import trl_gift

REPOSITORY = Path(__file__).parent.parent
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())


def text(name: str) -> str:
    return (REPOSITORY / name).read_text(encoding="utf-8")


def test_the_version_stands_in_one_place():
    assert "version" in PROJECT["project"]["dynamic"]
    assert PROJECT["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "trl_gift.__version__"}
    # A plain text, so that setuptools reads it without importing the package.
    assert f'\n__version__ = "{trl_gift.__version__}"\n' in text("trl_gift/__init__.py")
    assert f"## {Version(trl_gift.__version__).base_version} (" in text("CHANGELOG.md")


def test_the_command_prints_the_version_without_loading_libraries():
    code = "import sys; from trl_gift.cli.main import main; assert main(['--version']) == 0; assert 'torch' not in sys.modules"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert process.stdout.strip() == trl_gift.__version__


def links(readme):
    return re.findall(r"\]\(([^)\s]+)", readme) + re.findall(r'(?:src|href)="([^"]+)"', readme)


def test_relative_links_of_the_readme_lead_to_files():
    relative = [target for target in links(text("README.md")) if not target.startswith("https://")]
    assert "docs/assets/report.png" in relative
    assert [target for target in relative if not (REPOSITORY / target).is_file()] == []


@pytest.mark.parametrize("repository", [None, "https://example.org/owner/name/"])
def test_the_index_gets_a_readme_with_absolute_links_alone(repository):
    """A package index renders the README without the repository around it."""
    made = runpy.run_path(str(REPOSITORY / "setup.py"))["for_the_index"](text("README.md"), repository)
    assert links(made)
    assert all(target.startswith("https://") for target in links(made))
    picture = "https://example.org/owner/name/raw/main/docs/assets/report.png"
    assert (picture in links(made)) == (repository is not None)
    assert "The report of a quickstart: pass@1 after each round" in made


def test_the_metadata_hold_this_readme(tmp_path):
    """setuptools writes it into the wheel; without a public address no address is made up."""
    code = "import sys; from setuptools.build_meta import prepare_metadata_for_build_wheel as make; print(make(sys.argv[1]))"
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, tmp_path)
    (tmp_path / "trl_gift").mkdir()
    shutil.copy(REPOSITORY / "trl_gift/__init__.py", tmp_path / "trl_gift")
    (tmp_path / "made").mkdir()
    process = subprocess.run(
        [sys.executable, "-c", code, "made"], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    folder = process.stdout.strip().splitlines()[-1]
    found = email.message_from_string((tmp_path / "made" / folder / "METADATA").read_text())
    assert found["Description-Content-Type"] == "text/markdown"
    assert found["Name"] == "trl-gift"
    made = runpy.run_path(str(REPOSITORY / "setup.py"))["for_the_index"]
    assert found.get_payload().strip() == made(text("README.md"), PROJECT["project"]["urls"].get("Repository")).strip()


@pytest.mark.parametrize("entry", re.findall(r"^- (.+)$", text("CHANGELOG.md"), re.MULTILINE))
def test_an_entry_of_the_changelog_is_short(entry):
    assert len(entry.split()) <= 25, entry


def test_every_extra_is_pinned_and_can_be_installed_with_the_constraints():
    """Except the server: vLLM needs an older transformers and an older torch, hence an environment of its own."""
    constraints = [line for line in text("constraints.txt").splitlines() if not line.startswith("#")]
    pinned = {canonicalize_name(found.name): found.specifier for found in map(Requirement, constraints)}
    extras = PROJECT["project"]["optional-dependencies"]
    wanted = [item for name, items in extras.items() if name != "server" for item in items]
    for requirement in map(Requirement, [*PROJECT["project"]["dependencies"], *wanted]):
        pin = pinned[canonicalize_name(requirement.name)]
        (version,) = (item.version for item in pin if item.operator == "==")
        assert requirement.specifier.contains(version), f"{requirement} excludes the pinned {version}"


def test_the_hooks_and_the_workflow_run_what_exists():
    config = yaml.safe_load(text(".pre-commit-config.yaml"))
    commands = [hook["entry"].split()[0] for repository in config["repos"] for hook in repository["hooks"]]
    targets = text("Makefile").replace("$(BIN)", ".venv/bin")
    assert all(f"\t{command}" in targets for command in commands)
    (job,) = yaml.safe_load(text(".github/workflows/ci.yml"))["jobs"].values()
    assert job["steps"][-1] == {"run": ".ci/run"}
    promised = [name.rpartition(" ")[2] for name in PROJECT["project"]["classifiers"] if "Python :: 3." in name]
    assert job["strategy"]["matrix"]["python"] == promised


def test_the_makefile_lists_its_targets():
    makefile = text("Makefile")
    listed = set(re.findall(r"^#   make ([a-z-]+)", makefile, re.MULTILINE))
    steps = {"static", "format", "lint", "types", "layers"}  # parts of `make check`
    (phony,) = re.findall(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    assert listed == set(phony.split()) - steps
