"""Rows of an instruction dataset: programs, programs in fences, and what is not a program."""

GOOD = "def f(a):\n    b = a\n    return b\n"
ROWS = [
    {"instruction": "Return a.", "code": GOOD},
    {"instruction": "Say hello.", "code": "Hello, world!"},
    {"instruction": "Fenced.", "code": f"Here:\n```python\n{GOOD}```\nDone."},
    {"instruction": "Nothing.", "code": None},
    {"instruction": "Long.", "code": "x = 1\n" * 30},
    {"instruction": "Fenced, wrong.", "code": "```python\ndef f(:\n```"},
]
