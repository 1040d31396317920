"""Lays out the wheels that a machine without a network needs beside a torch that is installed there.

    python -m tools.wheelhouse wheelhouse --python 3.12      # make wheelhouse WHEELS_FOR=3.12

The machine's torch brings what torch itself needs. The rest is what this environment has installed for trl-gift and its
extra `bitsandbytes`, in the same versions, as wheels for the given Python on Linux; and trl-gift itself.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# glibc 2.28 and later, as torch's own wheels need it.
PLATFORMS = tuple(f"manylinux{tag}" for tag in ("_2_28_{m}", "_2_27_{m}", "_2_24_{m}", "_2_17_{m}", "2014_{m}"))


def closure(roots: Iterable[str], without: frozenset[str] = frozenset(), python: str | None = None) -> dict[str, str]:
    """The installed distributions that some distributions need, themselves included, with their versions.

    Args:
        roots: Their requirements, such as `trl-gift[bitsandbytes]`.
        without: Names that are left out, with what only they need.
        python: The version of Python that they are needed for, such as `3.12`; by default the one that runs.

    Raises:
        PackageNotFoundError: One is not installed.
    """
    found: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    open_ends = [(Requirement(root), "") for root in roots]
    surroundings = {} if python is None else {"python_version": python, "python_full_version": f"{python}.0"}
    while open_ends:
        requirement, extra = open_ends.pop()
        if requirement.marker is not None and not requirement.marker.evaluate({**surroundings, "extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        if name in without:
            continue
        distribution = metadata.distribution(name)
        found[name] = distribution.version
        for wanted in ("", *requirement.extras):
            if (name, wanted) not in seen:
                seen.add((name, wanted))
                open_ends += [(Requirement(text), wanted) for text in distribution.requires or ()]
    return found


def main() -> None:
    """Downloads the wheels."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="where the wheels go")
    parser.add_argument(
        "--python", default=f"{sys.version_info[0]}.{sys.version_info[1]}", help="Python of that machine"
    )
    parser.add_argument("--machine", default="x86_64", choices=("x86_64", "aarch64"))
    options = parser.parse_args()
    beside = frozenset(closure(["torch"]))
    needed = closure(["trl-gift[bitsandbytes]"], without=beside, python=options.python)
    own = needed.pop("trl-gift")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    target = ["--only-binary", ":all:", "--no-deps", "--python-version", options.python, "--dest", options.folder]
    for tag in PLATFORMS:
        target += ["--platform", tag.format(m=options.machine)]
    pins = [f"{name}=={version}" for name, version in sorted(needed.items())]
    subprocess.run([*pip, "download", "--quiet", *target, *pins], check=True)
    source = Path(__file__).parent.parent
    subprocess.run([*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", options.folder, str(source)], check=True)
    wheels = sorted(Path(options.folder).glob("*.whl"))
    size = sum(wheel.stat().st_size for wheel in wheels) / 1e6
    print(
        f"{len(wheels)} wheels, {size:.0f} MB, for Python {options.python} on Linux {options.machine}. There, beside torch:\n"
        f"  pip install --no-index --find-links {options.folder} 'trl-gift[bitsandbytes]=={own}'"
    )


if __name__ == "__main__":
    main()
