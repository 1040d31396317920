"""The base of all rooms. It imports nothing else of trl_gift but `trl_gift.errors`.

Public modules: `randomness` (named random streams), `files` (files that are written whole), `clock` (time by stage), `options`
(options that are declared in one place), `lazy` (public names that are loaded on first use), `models` (what users give as a
model), `bars` (progress), `words` (words for numbers and broken JSON), `spelling` (options as flags), `memory` (how much of it there is).
"""

__all__ = ["bars", "clock", "files", "lazy", "memory", "models", "options", "randomness", "spelling", "words"]
