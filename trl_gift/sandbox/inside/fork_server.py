"""The fork server of one worker: it forks once per program and watches the program until the judge is done.

It never reads a program or a test, because the next program inherits its memory: both come as memory files that it passes
on. It runs no untrusted code. It alone can end the program, and it enforces the deadlines: CPU time by the kernel's clock
of the program, wall time as the backstop, and the same CPU time for the judge.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from trl_gift.sandbox.confine import kernel
from trl_gift.sandbox.confine.layers import Allowance, Filters
from trl_gift.sandbox.deadlines import wall_left
from trl_gift.sandbox.inside import judge, program, runner, surroundings
from trl_gift.sandbox.inside.waiting import ended_within

if TYPE_CHECKING:
    from trl_gift.sandbox.inside.native import Native

_JUDGE_MEMORY = 2 << 30
_JUDGE_FILES = 64
_JUDGE_GRACE_S = 1.0
_ENDING_S = 0.5  # a process closes its channel before it has ended
_JUDGE_PROGRAMS = 5000  # a new judge after this many programs limits what leaking tests can use up
_MAX_REQUEST = 4096


class ForkServer:
    """The fork server's state: its judge, and the address space that every fork starts with.

    Args:
        control: The connection to the trainer.
        filters: The seccomp filters for programs and for the judge.
        statm: A descriptor of `/proc/self/statm`, opened before the private root hid it.
        native: What runs programs that are not Python; None in a worker for Python only.
    """

    def __init__(self, control: socket.socket, filters: Filters, statm: int, native: Native | None = None) -> None:
        self.control = control
        self.native = native
        self.filters = filters
        self.address_space = int(os.pread(statm, 100, 0).split()[0]) * os.sysconf("SC_PAGE_SIZE")
        os.close(statm)
        self.me = os.getpid()
        self.start_judge()

    def serve(self, tasks: str) -> NoReturn:
        """Run programs until the trainer closes the connection; then end the children and this process.

        Args:
            tasks: What limits the threads and processes of this worker, in words, for the trainer.
        """
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.control.send(json.dumps({"ready": True, "tasks": tasks}).encode())
            while True:
                message, fds, _, _ = socket.recv_fds(self.control, _MAX_REQUEST, 3)
                if not message:
                    break
                if fds:  # otherwise this is a cancellation that came after the end of its program
                    self.control.send(json.dumps(self.run(json.loads(message), fds)).encode())
        self.stop_judge()
        self.reap_orphans()
        os._exit(0)

    def start_judge(self) -> None:
        """Fork a judge; it inherits only this server's clean memory."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.judge_pid = kernel.fork()
        if self.judge_pid == 0:
            self.as_fork(lambda: self.become_judge(theirs))
        theirs.close()
        self.duty = ours
        self.judged = 0

    def as_fork(self, life: Callable[[], NoReturn]) -> NoReturn:
        """Run `life` in a fork of this server; even after an error, a fork must not return into the server's loop."""
        try:
            kernel.die_with_parent(self.me)
            life()
        except BaseException as error:  # noqa: BLE001  no caller is left that could report it
            sys.__excepthook__(type(error), error, error.__traceback__)
        finally:
            os._exit(1)

    def become_program(
        self, job: dict[str, Any], source: int, channel: int, stdout: int, left_files: bool
    ) -> NoReturn:
        """Turn this fork into the program, or into the runner of one that reads standard input."""
        allowance = Allowance(*job["allowance"])
        if job["language"] != "python":
            assert self.native is not None, "the trainer sends other languages to workers that have them"
            self.native.become(source, channel, job["language"], allowance)
        confinement = program.Confinement(allowance, self.address_space, self.filters.program)
        if job["kind"] == "stdio":
            runner.become(source, channel, confinement)
        program.become(source, channel, stdout, confinement, left_files)

    def become_judge(self, theirs: socket.socket) -> NoReturn:
        """Confine this fork and judge until the server closes the connection."""
        duty = socket.socket(fileno=os.dup2(theirs.detach(), 3))
        os.closerange(4, 1 << 16)
        allowance = Allowance(1 << 30, 1 << 30, _JUDGE_MEMORY, 256 << 20, _JUDGE_FILES)
        allowance.apply(self.address_space)
        if self.filters.judge is not None:
            self.filters.judge.install()
        judge.serve(duty, self.filters.tests)

    def stop_judge(self) -> None:
        """End the judge at once."""
        os.kill(self.judge_pid, signal.SIGKILL)
        os.waitpid(self.judge_pid, 0)
        self.duty.close()

    def run(self, job: dict[str, Any], fds: list[int]) -> dict[str, Any]:
        """Fork one program, have it judged, and make sure that it ends.

        Args:
            job: The trainer's message, see `Job.order`.
            fds: The memory files of the source, the tests and the standard output.

        Returns:
            How the program ended (see `watch`), whether its process did so by itself, its exit status, CPU and wall time in seconds, peak memory in KiB.
        """
        source, exam, stdout = fds
        stdio = job["kind"] == "stdio"
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET if stdio else socket.SOCK_STREAM)
        # The judge reads the tests and sends its first question while the program is being forked.
        socket.send_fds(self.duty, [judge.TASK.pack(job["stop"], job["budget"][0])], [ours.fileno(), exam])
        ours.close()
        os.close(exam)
        left = surroundings.left_files()
        started = time.monotonic()
        pid = kernel.fork()
        if pid == 0:
            self.as_fork(lambda: self.become_program(job, source, theirs.fileno(), stdout, left))
        theirs.close()
        os.close(source)
        os.close(stdout)
        end = self.watch(job, pid, started)
        by_itself = end == "gone" and ended_within(pid, _ENDING_S)
        end = "done" if end == "gone" else end
        os.kill(pid, signal.SIGKILL)  # safe for an ended program: it is reaped below, so no other process has its pid
        # A judge whose program has ended reports the results so far and is done; if it is not, it hangs itself.
        judge_idle = end == "done" or (end in ("cpu", "wall", "cancelled") and self.judge_done_within(_JUDGE_GRACE_S))
        _, status, usage = os.wait4(pid, 0)
        wall = time.monotonic() - started
        self.judged += 1
        if end != "hung-up" and (not judge_idle or self.judged >= _JUDGE_PROGRAMS):
            self.stop_judge()
            self.start_judge()
        if stdio:
            self.reap_orphans()
        cpu = usage.ru_utime + usage.ru_stime
        return {
            "id": job["id"],
            "end": end,
            "by_itself": by_itself,
            "status": status,
            "cpu_s": cpu,
            "wall_s": wall,
            "peak_kb": usage.ru_maxrss,
        }

    def watch(self, job: dict[str, Any], pid: int, started: float) -> str:
        """Wait for the judge.

        Returns:
            `done`; `gone` if the program ended before it answered; or why the wait ended early: `cpu` or `wall` (the program reached that limit), `judge` (the judge
            reached the CPU limit), `judge-died`, `cancelled`, `hung-up` (the trainer closed the connection).
        """
        cpu_limit, wall_limit = job["budget"]
        poll = select.poll()
        poll.register(self.duty, select.POLLIN)
        poll.register(self.control, select.POLLIN)
        judge_clock = kernel.cpu_clock(self.judge_pid)
        judge_start = time.clock_gettime(judge_clock)
        program_clock = kernel.cpu_clock(pid)
        while True:
            used = time.clock_gettime(program_clock)
            judge_used = time.clock_gettime(judge_clock) - judge_start
            cpu_left, judge_left = cpu_limit - used, cpu_limit - judge_used
            sleep_left = wall_left(wall_limit, time.monotonic() - started, used + judge_used)
            if min(sleep_left, cpu_left, judge_left) <= 0:
                return "cpu" if cpu_left <= 0 else "judge" if judge_left <= 0 else "wall"
            ready = dict(poll.poll(1000 * min(sleep_left, cpu_left, judge_left) + 1))
            if self.duty.fileno() in ready:
                return {judge.DONE: "done", judge.GONE: "gone"}.get(self.duty.recv(16), "judge-died")
            if self.control.fileno() in ready:
                message = self.control.recv(_MAX_REQUEST)
                if not message:
                    return "hung-up"
                if json.loads(message).get("cancel") == job["id"]:
                    return "cancelled"

    def judge_done_within(self, seconds: float) -> bool:
        """Whether the judge finishes within `seconds` after its program was ended."""
        poll = select.poll()
        poll.register(self.duty, select.POLLIN)
        return bool(poll.poll(1000 * seconds)) and self.duty.recv(16) in (judge.DONE, judge.GONE)

    def reap_orphans(self) -> None:
        """Reap the children that an ended runner left; never the judge, which `stop_judge` reaps."""
        with contextlib.suppress(ChildProcessError):
            while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                if ended.si_pid == self.judge_pid:
                    return
                os.waitpid(ended.si_pid, 0)
