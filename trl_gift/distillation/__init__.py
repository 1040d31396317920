"""Learning from failed programs: a teacher, or the student itself, writes them again; what passes is learned.

Personalised Distillation (arXiv 2310.18628, EMNLP 2023): the student attempts each task; for a failure the teacher sees the
task, the wrong program and its first failure, and rectifies the program; what passes all tests is kept. Departures: the teacher
may be the student (self-repair); a program may be rectified in several turns; the failure that is told comes from visible tests
alone; what is written may be limited by tokens and by money.

Public modules: `plan` (which tasks come first), `working` (one task), `stage` (a round), `teachers` (the student, another local
model), `endpoint` (a chat endpoint), `questions` (what an endpoint is asked), `answers` (what it has answered, on disk),
`limits` (requests a minute, money), `sets` (what is learned).

Not covered: tests that a teacher writes for tasks without tests.
"""

from trl_gift.distillation.plan import TeachingSettings
from trl_gift.distillation.sets import SETS, Lesson
from trl_gift.distillation.teachers import LocalModel, Teacher, TheStudent

__all__ = [
    "SETS",
    "Lesson",
    "LocalModel",
    "Teacher",
    "TeachingSettings",
    "TheStudent",
    "answers",
    "endpoint",
    "limits",
    "plan",
    "questions",
    "sets",
    "stage",
    "teachers",
    "working",
]
