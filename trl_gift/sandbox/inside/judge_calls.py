"""How a judge tests a program by assertions and calls: it calls the program's functions through proxies.

The program is at the other end of a channel. It sees arguments, never expected values. Replies are plain values, and an
exception comes back as the builtin exception that it extends. Three ways for a wrong program to pass are closed here:

* A `StopIteration` raised by the program would end a loop such as `for got in map(f, xs): assert ...` silently, so it
  (like the other exceptions that control a loop) becomes a `ProgramError`.
* A test may swallow exceptions. Once the channel has broken, the verdict is never "passed".
* A test that passes without calling the program proves nothing, so the verdict is not "passed" either.
"""

from __future__ import annotations

import builtins
import importlib
import os
import sys
from _thread import allocate_lock  # not `threading`, whose fork hooks would slow every program
from collections import deque
from collections.abc import Callable
from typing import Any

from trl_gift.sandbox import statements
from trl_gift.sandbox.inside import wire
from trl_gift.sandbox.status import Status
from trl_gift.sandbox.values import codec
from trl_gift.sandbox.values.compare_values import values_match
from trl_gift.sandbox.values.show import show

Mark = tuple[str, str]  # status, message
Report = dict[str, Any]

_ACT_ON_IMPORT = ("antigravity", "this", "idlelib", "turtledemo", "test")
# Of what a program says about itself, a message holds this many characters; of its own names, this many.
_WORDS, _NAME = 2000, 100
_CONTROL_FLOW = (StopIteration, StopAsyncIteration, GeneratorExit)


class ProgramError(Exception):
    """The program raised an exception that has no builtin equivalent, or that would control the tests' loops."""


class ProgramGone(BaseException):
    """The program's process ended, or broke the protocol; it can answer no further question."""


class Refused(Exception):
    """A question cannot be sent, or an answer cannot be used; `status` says whether the tests or the program caused it."""

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(message)
        self.status = status


class Program:
    """The program as its judge sees it: names to look up, functions to call.

    Args:
        channel: The judge's end of the channel, a file descriptor.
        by_reference: Whether changes that the program makes to mutable arguments are copied back.
    """

    def __init__(self, channel: int, by_reference: bool) -> None:
        self.channel = channel
        self.by_reference = by_reference
        self.broken: tuple[Status, str] | None = None
        self.raised: BaseException | None = None
        self.raised_status = Status.ERROR
        self.last_call = ""
        self.asked = 0
        self._asking = allocate_lock()

    def ask(self, question: Any) -> Any:
        """Send one question and return the answer to it; tests may ask from several threads."""
        with self._asking:
            return self._ask(question)

    def _ask(self, question: Any) -> Any:
        if self.broken:
            raise ProgramGone
        nonce = int.from_bytes(os.urandom(8), "little")
        try:
            body = codec.encode(question)
        except codec.EncodeError as error:
            raise Refused(
                Status.INFRASTRUCTURE, f"the tests pass the program {error}; such tests need shared=True"
            ) from error
        try:
            wire.send(self.channel, nonce, body)
            echoed, reply = wire.receive(self.channel)
            if echoed != nonce:
                raise wire.ProtocolViolation("a reply to no question")
            return codec.decode(reply, self.function)
        except wire.ChannelClosed:
            self.broken = (Status.ERROR, "the program ended before it answered")
        except (wire.ProtocolViolation, codec.DecodeError) as error:
            self.broken = (Status.VIOLATION, f"the program sent {error}")
        except MemoryError:  # the program's fault: no program may end its judge and so avoid a verdict
            self.broken = (Status.MEMORY, "the program sent more than its judge can hold")
        raise ProgramGone

    def call(self, target: str | int, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a function of the program; returns its value or raises what it raised."""
        self.asked += 1
        self.last_call = f"{name}({show(args)[1:-1].rstrip(',')})"
        reply = self.ask(("call", target, args, kwargs, self.by_reference))
        match reply:
            case ("value", value, changed):
                self.last_call += f" returned {show(value)}"
                if self.by_reference and isinstance(changed, list) and len(changed) == len(args):
                    _write_back(args, changed)
                elif changed is not None:
                    raise self.violation("changed arguments, which nobody has asked for")
                return value
            case ("raised", list() as names, str() as words, list() as arguments):
                self.last_call += f" raised {_named(names)}: {words[:_WORDS]}"
                self.raised, self.raised_status = _as_builtin(names, words, arguments)
                raise self.raised
            case ("uncrossable", str() as reason):
                raise Refused(Status.ERROR, f"{self.last_call} returned {reason[:_WORDS]}")
        self.broken = (Status.VIOLATION, "the program sent a reply of an unknown form")
        raise ProgramGone

    def function(self, target: str | int, name: str = "(returned function)") -> Callable[..., Any]:
        """A stand-in for a function of the program."""

        def proxy(*args: Any, **kwargs: Any) -> Any:
            return self.call(target, name, args, kwargs)

        proxy.__name__ = proxy.__qualname__ = name
        return proxy

    def names(self, wanted: list[str], required: str | None) -> dict[str, Any]:
        """The wanted names as proxies and values; raises `Refused` if the program failed on import."""
        reply = self.ask(("names", wanted))
        match reply:
            case {"state": "ready", "names": dict() as found}:
                pass
            case {"state": "syntax_error", "message": str() as message}:
                raise Refused(Status.SYNTAX_ERROR, message[:_WORDS])
            case {"state": "raised", "error": ("raised", list() as names, str() as words, list() as arguments)}:
                _, status = _as_builtin(names, words, arguments)
                raise Refused(status, f"{_named(names)} on import: {words[:_WORDS]}")
            case _:
                raise self.violation("names of an unknown form")
        namespace: dict[str, Any] = {}
        for name in wanted:
            match found.get(name, ("missing",)):
                case ("function",):
                    namespace[name] = self.function(name, name)
                case ("value", value):
                    namespace[name] = value
                    self.asked += name == required
                case ("uncrossable", str() as reason) if name == required:
                    raise Refused(Status.ERROR, f"{name} is {reason[:_WORDS]}")
                case ("raised", list(), str() as words, list()) if name == required:
                    raise Refused(Status.ERROR, f"{name} cannot be reached: {words[:_WORDS]}")
                case ("missing",) if name == required:
                    raise Refused(Status.ERROR, f"the program does not define {name}")
                case _ if name in sys.stdlib_module_names and name not in _ACT_ON_IMPORT:
                    namespace[name] = importlib.import_module(name)  # for tests that rely on an import of the program
        return namespace

    def violation(self, what: str) -> ProgramGone:
        """The error to raise after the program sent something malformed."""
        self.broken = (Status.VIOLATION, f"the program sent {what}")
        return ProgramGone()


def _write_back(args: tuple[Any, ...], changed: list[Any]) -> None:
    """Copy what the program left in its mutable arguments into the caller's containers."""
    for original, now in zip(args, changed, strict=True):
        if type(original) is not type(now):
            continue
        if isinstance(original, (list, bytearray)):
            original[:] = now
        elif isinstance(original, (dict, set)):
            original.clear()
            original.update(now)
        elif isinstance(original, deque):
            original.clear()
            original.extend(now)


def _as_builtin(names: list[Any], words: str, arguments: list[Any]) -> tuple[BaseException, Status]:
    """The exception to raise for one that the program raised, and the status if the tests do not catch it."""
    words = words[:_WORDS]
    for name in names:
        cls = getattr(builtins, name, None) if isinstance(name, str) else None
        if not (isinstance(cls, type) and issubclass(cls, Exception)) or issubclass(cls, _CONTROL_FLOW):
            continue
        status = Status.ERROR
        if issubclass(cls, MemoryError):
            status = Status.MEMORY
        elif issubclass(cls, PermissionError):
            status = Status.VIOLATION
        try:
            return cls(*arguments), status
        except Exception:  # noqa: BLE001  classes such as ExceptionGroup take few arguments, and raise what they like
            return ProgramError(f"{name}: {words}"), status
    return ProgramError(f"{_named(names)}: {words}"), Status.ERROR


def _named(names: list[Any]) -> str:
    return names[0][:_NAME] if names and isinstance(names[0], str) else "an exception"


def examine(exam: dict[str, Any], channel: int, stop: bool) -> Report:
    """The report on a program for an exam of assertions or calls.

    Args:
        exam: The decoded tests.
        channel: The judge's end of the channel to the program.
        stop: Whether to stop at the first failing test.

    Returns:
        `marks`, a `(status, message)` per test that ran; `gone`, whether the program ended before it answered.
    """
    program = Program(channel, exam["pass_by"] == "reference")
    marks: list[Mark] = []
    try:
        if exam["kind"] == "call":
            _calls(exam, program, stop, marks)
        elif exam["shared"]:
            _shared(exam, program, stop, marks)
        else:
            _assertions(exam, program, stop, marks)
    except Refused as refusal:
        marks.append((refusal.status, str(refusal)))
    except ProgramGone:
        pass  # `broken` says why
    except Exception as error:  # noqa: BLE001  no answer of a program may end its judge and so avoid a verdict
        marks.append((Status.ERROR, f"its answers cannot be judged ({type(error).__name__})"))
    if program.broken:
        marks = [mark for mark in marks if mark[0] == Status.PASSED]
        marks.append((program.broken[0], program.broken[1] + (f" ({program.last_call})" if program.last_call else "")))
    elif not program.asked and all(status == Status.PASSED for status, _ in marks):
        marks = [(Status.INFRASTRUCTURE, "the tests never called the program, so passing them proves nothing")]
    marks = [(status, message[:_WORDS]) for status, message in marks]
    return {"marks": marks, "gone": bool(program.broken and program.broken[0] is Status.ERROR)}


def _calls(exam: dict[str, Any], program: Program, stop: bool, marks: list[Mark]) -> None:
    name = exam["entry_point"]
    function = program.names([name], name)[name]
    if not callable(function):
        raise Refused(Status.ERROR, f"{name} is {show(function)}, not a function")
    for case in exam["cases"]:
        try:
            value = function(*case["args"], **case["kwargs"])
            equal = values_match(
                value, case["expected"], exam["compare"], exam["abs_tol"], exam["rel_tol"], exam["decimals_only"]
            )
        except Refused as refusal:
            mark: Mark = (refusal.status, str(refusal))
        except Exception as error:  # noqa: BLE001  raised by the program, or by comparing a hostile value
            mark = _blame(error, program, program.last_call)
        else:
            mark = (
                (Status.PASSED, "") if equal else (Status.FAILED, f"{program.last_call}, not {show(case['expected'])}")
            )
        marks.append(mark)
        if stop and mark[0] != Status.PASSED:
            return


def _assertions(exam: dict[str, Any], program: Program, stop: bool, marks: list[Mark]) -> None:
    source, prelude, entry = exam["source"], exam["prelude"], exam["entry_point"]
    wanted = sorted(statements.free_names(source, prelude) - {"candidate"} | ({entry} if entry else set()))
    found = program.names(wanted, entry)
    namespace: dict[str, Any] = {"__name__": "__main__"}  # some tests run under `if __name__ == "__main__":`
    try:
        exec(_compiled(prelude), namespace)
        namespace.update(found)  # replaces the prelude's own stub of the entry point, if it has one
        if entry in found:
            namespace.setdefault("candidate", found[entry])
        _run_steps(source, namespace, program, stop, marks)
    finally:
        namespace.clear()  # functions of the tests would keep it, with the program's values, until the next collection


def _run_steps(source: str, namespace: dict[str, Any], program: Program, stop: bool, marks: list[Mark]) -> None:
    for step in statements.steps(source):
        program.raised = None
        try:
            exec(step.code, namespace)
        except ProgramGone:
            raise
        except Refused as refusal:
            marks.append((refusal.status, str(refusal)))
        except BaseException as error:  # noqa: BLE001  an exception of the tests is their verdict
            marks.append(_blame(error, program, statements.failing_line(error, source)))
        else:
            if step.is_test:
                marks.append((Status.PASSED, ""))
            continue
        if stop or not step.is_test:
            return


def _blame(error: BaseException, program: Program, line: str) -> Mark:
    if error is program.raised:
        return program.raised_status, program.last_call
    detail = "" if isinstance(error, AssertionError) and not error.args else f": {_show_error(error)}"
    call = f" [{program.last_call}]" if program.last_call and program.last_call != line else ""
    return Status.FAILED, f"{line}{detail}{call}"


def _show_error(error: BaseException) -> str:
    """One line for an exception raised by test code."""
    try:
        words = str(error)
    except Exception:  # noqa: BLE001  an error about a hostile value may not be printable
        words = "(an error that cannot be printed)"
    return " ".join(f"{type(error).__name__}: {words[:_WORDS]}".split())[:500]


def _shared(exam: dict[str, Any], program: Program, stop: bool, marks: list[Mark]) -> None:
    program.names([], None)
    program.asked += 1
    reply = program.ask(("shared", {**exam, "stop": stop}))
    if not isinstance(reply, list) or not reply:
        raise program.violation("marks of an unknown form")
    for item in reply:
        match item:
            case (("passed" | "failed" | "error") as status, str() as message):
                marks.append((Status(status), message))
            case _:
                raise program.violation("marks of an unknown form")


_PRELUDES: dict[str, Any] = {}


def _compiled(prelude: str) -> Any:
    if prelude not in _PRELUDES:
        if len(_PRELUDES) > 256:
            _PRELUDES.clear()
        _PRELUDES[prelude] = compile(prelude, "<prelude>", "exec", dont_inherit=True)
    return _PRELUDES[prelude]
