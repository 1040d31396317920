"""Gives the package index a README whose relative links and pictures point into the repository.

A repository's page shows `docs/assets/report.png`; a package index has only the text. The address is that of `[project.urls]`,
`Repository`, in `pyproject.toml`. While there is none, a picture and a link become their words.
"""

import re
import tomllib
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).resolve().parent
RELATIVE = re.compile(r"(?P<picture>!?)\[(?P<words>[^\]]*)\]\((?!https?:|#)(?P<path>[^)\s]+)\)")


def for_the_index(text: str, repository: str | None) -> str:
    """The README for a package index.

    Args:
        text: The README of the repository.
        repository: The repository's address; None if it has none.
    """

    def absolute(link: re.Match[str]) -> str:
        if repository is None:
            return link["words"]
        kind = "raw" if link["picture"] else "blob"
        return f"{link['picture']}[{link['words']}]({repository.rstrip('/')}/{kind}/main/{link['path']})"

    return RELATIVE.sub(absolute, text)


if __name__ == "__main__":
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    setup(
        long_description=for_the_index(readme, urls.get("Repository")), long_description_content_type="text/markdown"
    )
