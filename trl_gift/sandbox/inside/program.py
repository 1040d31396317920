"""The program's side: everything that runs in the process of an untrusted program.

`become` turns a newly forked child into the program: it reads the source, closes every descriptor but the channel, sets
the limits, installs the filter, and only then runs the first line of the program. From then on nothing in this process
can be trusted, this module included. The judge checks everything that it sends.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import types
from collections import deque
from typing import Any, NamedTuple, NoReturn

from trl_gift.sandbox.confine.layers import Allowance
from trl_gift.sandbox.confine.seccomp import Filter
from trl_gift.sandbox.inside import surroundings, wire
from trl_gift.sandbox.inside.shared import run_shared
from trl_gift.sandbox.values import codec

CHANNEL = 3
FILENAME = "<program>"
BOM = "\ufeff"  # a byte-order mark, with which some files begin
_MUTABLE = (list, dict, set, deque, bytearray)


class Confinement(NamedTuple):
    """What confines the process of one program.

    Attributes:
        allowance: The program's limits.
        address_space: Bytes of address space that the fork starts with.
        filter: The seccomp filter, if there is one.
    """

    allowance: Allowance
    address_space: int
    filter: Filter | None

    def enter(self, left_files: bool) -> None:
        """The last steps before untrusted code: empty folders, the limits, the filter.

        Args:
            left_files: Whether the previous program has left files.
        """
        if left_files:
            surroundings.empty_folders()
        self.allowance.apply(self.address_space)
        if self.filter is not None:
            self.filter.install()


def become(source: int, channel: int, stdout: int, confinement: Confinement, left_files: bool) -> NoReturn:
    """Run the program in the file `source`, then answer the judge on `channel` until it closes the channel.

    Args:
        source: Descriptor of the memory file with the program.
        channel: The program's end of the channel.
        stdout: Descriptor of the memory file that receives the standard output.
        confinement: What confines it.
        left_files: Whether the previous program has left files.
    """
    text = read_all(source).decode("utf-8", "surrogatepass")  # as text, so that a coding cookie has no effect
    os.dup2(stdout, 1)
    # Opened anew: programs could pass information on in the flags of a descriptor that all of them inherit.
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    os.dup2(0, 2)
    os.dup2(channel, CHANNEL)
    os.closerange(CHANNEL + 1, 1 << 16)
    confinement.enter(left_files)
    Answers(CHANNEL).serve(text)
    os._exit(0)


def read_all(fd: int) -> bytes:
    """The whole content of a memory file, independent of its shared offset."""
    size = os.fstat(fd).st_size
    return os.pread(fd, size, 0) if size else b""


def new_module(name: str) -> types.ModuleType:
    """An empty module, registered under its name because dataclasses, enums and pickles expect that."""
    module = types.ModuleType(name)
    module.__dict__["__builtins__"] = __builtins__
    module.__dict__["__file__"] = surroundings.path_of("program.py")
    sys.modules[name] = module
    return module


class Answers:
    """The loop that answers a judge: which names the program defines, what a call returns."""

    def __init__(self, channel: int) -> None:
        self.channel = channel
        self.stdout = sys.stdout  # which the program may replace
        self.functions: list[Any] = []
        self.module = new_module("solution")
        self.objects: dict[str, Any] = {}

    def serve(self, text: str) -> None:
        """Run the program, then answer requests until the judge closes the channel."""
        state = self.run(text)
        while True:
            try:
                nonce, body = wire.receive(self.channel)
            except wire.ChannelClosed:
                return
            try:
                reply = self.reply(codec.decode(body, home=self.module.__dict__), state)
            except MemoryError as error:
                self.functions.clear()
                reply = codec.encode(raised(error))
            with contextlib.suppress(OSError, ValueError):  # closed, or full; a message shows its end
                self.stdout.flush()
            wire.send(self.channel, nonce, reply)

    def run(self, text: str) -> dict[str, Any]:
        """Execute the module; its state in plain values: ready, a syntax error, or what it raised."""
        try:
            code = compile(text.removeprefix(BOM), FILENAME, "exec", dont_inherit=True)
        except (SyntaxError, ValueError) as error:  # ValueError: null bytes, lone surrogates
            return {"state": "syntax_error", "message": f"{type(error).__name__}: {error}"}
        except (MemoryError, RecursionError) as error:
            return {"state": "syntax_error", "message": f"too deeply nested to compile ({type(error).__name__})"}
        try:
            exec(code, self.module.__dict__)
        except BaseException as error:  # noqa: BLE001  every exception of the program is data
            return {"state": "raised", "error": raised(error)}
        return {"state": "ready"}

    def reply(self, request: Any, state: dict[str, Any]) -> bytes:
        """The answer to one request, encoded."""
        if request[0] == "names":
            return codec.encode({**state, "names": {name: self.look_up(name) for name in request[1]}}, self.handle)
        if request[0] == "shared":
            return codec.encode(run_shared(self.module, request[1]))
        _, target, args, kwargs, by_reference = request
        function = self.functions[target] if isinstance(target, int) else self.objects[target]
        try:
            value = function(*args, **kwargs)
        except BaseException as error:  # noqa: BLE001  every exception of the program is data
            return codec.encode(raised(error))
        changed = [item if isinstance(item, _MUTABLE) else None for item in args] if by_reference else None
        return self.encode_value(value, changed)

    def encode_value(self, value: Any, changed: list[Any] | None) -> bytes:
        """A returned value, or the reason why it cannot cross the channel."""
        try:
            return codec.encode(("value", value, changed), self.handle)
        except codec.EncodeError as error:
            return codec.encode(("uncrossable", str(error)))
        except BaseException as error:  # noqa: BLE001  encoding drains iterators, which runs the program's code
            return codec.encode(raised(error))

    def handle(self, function: Any) -> int:
        """The number by which the judge may call `function`."""
        self.functions.append(function)
        return len(self.functions) - 1

    def look_up(self, name: str) -> Any:
        """What `name` is in the program: `("function",)`, `("value", value)`, or the reason why it cannot be used."""
        parts = name.replace("()", "").split(".")
        if parts[0] not in self.module.__dict__:
            return ("missing",)
        found = self.module.__dict__[parts[0]]
        try:
            for part in parts[1:]:
                found = getattr(found() if isinstance(found, type) else found, part)
        except BaseException as error:  # noqa: BLE001  constructors are the program's code
            return raised(error)
        self.objects[name] = found
        if callable(found) and not (isinstance(found, type) and "_member_map_" in vars(found)):  # an enum is a value
            return ("function",)
        try:
            codec.encode(found, self.handle)
        except codec.EncodeError as error:
            return ("uncrossable", str(error))
        return ("value", found)


def raised(error: BaseException) -> tuple[str, list[str], str, list[Any]]:
    """An exception as plain values: the names of its classes, its message with the line, its plain arguments."""
    names = [cls.__name__[:200] for cls in type(error).__mro__[:50] if cls is not object]
    arguments = [item for item in error.args if type(item) in (str, int, float, bool)]
    try:
        words = str(error)
    except BaseException:  # noqa: BLE001  `__str__` may be the program's
        words = "(an error that cannot be printed)"
    line = ""
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == FILENAME:
            line = f" (line {trace.tb_lineno})"
        trace = trace.tb_next
    return ("raised", names, words[:2000] + line, arguments if len(arguments) == len(error.args) else [words[:2000]])


def warm_up(rounds: int = 30) -> None:
    """Run a trusted program in the fork server itself, before the first fork, to specialise the interpreter's code.

    The interpreter specialises code while it runs, by writing into it. Memory that was written before the fork stays
    shared. Memory that is written after the fork, every fork copies page by page.
    """
    text = "def f(x, y):\n    return [x, y]\n"
    for _ in range(rounds):
        ours, theirs = socket.socketpair()
        questions: list[Any] = [("names", ["f"]), *[("call", "f", ([1, 2.5], {"a": "b"}), {}, False)] * 3]
        for question in questions:
            wire.send(ours.fileno(), 1, codec.encode(question))
        ours.shutdown(socket.SHUT_WR)
        Answers(theirs.fileno()).serve(text)
        for _ in range(4):
            _, body = wire.receive(ours.fileno())
            codec.decode(body)
        ours.close()
        theirs.close()
    sys.modules.pop("solution")
