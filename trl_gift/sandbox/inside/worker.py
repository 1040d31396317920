"""Entry point of a worker process: `python -S -P worker.py FD`, a new process, never a fork of the trainer.

The worker receives its orders from the socket FD, confines itself, imports the modules that programs are likely to
import, and becomes the fork server. It loads only the modules that it needs, without running the `__init__` of
`trl_gift` and `trl_gift.sandbox`, which would import threading, whose fork hooks slow every fork by a third.
"""

from __future__ import annotations

import _thread
import builtins
import gc
import importlib
import json
import os
import resource
import socket
import sys
import types
from _sitebuiltins import Quitter

_TRUSTED = "trl_gift"
_STACK = 256 << 20
_THREAD_STACK = 8 << 20


def _bare_packages() -> None:
    """Make the modules of `trl_gift.sandbox` importable without running its `__init__`."""
    sandbox = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    for name, path in ((_TRUSTED, os.path.dirname(sandbox)), (f"{_TRUSTED}.sandbox", sandbox)):
        package = types.ModuleType(name)
        package.__path__ = [path]
        sys.modules[name] = package


def main() -> None:
    """Confine this process, report to the trainer, serve."""
    _take_deep_stack()
    sys.set_int_max_str_digits(0)  # programs may print and read numbers of any length; their CPU time is limited
    _bare_packages()
    # Fork hooks of modules (`random` draws new seeds, `threading` renews locks) would run in every fork, and take longer
    # there than the interpreter's own work. The server has one thread and seeds each fork itself.
    os.register_at_fork = lambda **hooks: None
    from trl_gift.sandbox.confine import folders, kernel, layers, namespaces
    from trl_gift.sandbox.confine.plan import Plan
    from trl_gift.sandbox.inside import fork_server, judge, program, surroundings

    control = socket.socket(fileno=int(sys.argv[1]))
    orders = json.loads(control.recv(1 << 16))
    if orders["native"] is not None:  # other languages would take the deep stack for every thread
        resource.setrlimit(resource.RLIMIT_STACK, (_THREAD_STACK, resource.getrlimit(resource.RLIMIT_STACK)[1]))
    kernel.die_with_parent(orders["parent"])
    plan = Plan(**orders["plan"])
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [path for path in sys.path if path != here] + orders["packages"]
    importlib.invalidate_caches()
    try:
        read = layers.readable(orders["packages"])
        execute, scratch = [], []
        private = folders.choose(read) if orders["native"] is None else {}
        if orders["native"] is not None:
            from trl_gift.sandbox.inside import native

            execute, scratch = native.installed(orders["native"]["commands"]), [orders["native"]["scratch"]]
            scratch += [os.path.dirname(path) for path in [orders["native"]["executable"]] if path]
        layers.enter_namespaces(plan)
        tasks = ""
        if plan.namespaces:
            _become_init()
            tasks = namespaces.limit_tasks()
        kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
        kernel.ask_for_short_slices()
        statm = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
        _prefer_for_oom_killer()
        layers.confine_worker(plan, read, scratch, execute, private)
        if plan.namespaces and private:
            os.chdir(next(iter(private)))  # programs start there and find it by `surroundings`
            os.environ["TMPDIR"] = os.getcwd()
        kernel.die_with_parent()  # again, because changing credentials cancels it
        filters = layers.Filters(plan)
    except layers.LayerFailed as failure:
        control.send(json.dumps({"ready": False, "layer": failure.layer, "error": str(failure)}).encode())
        return
    _preload(orders["preload"])
    builtins.exit, builtins.quit = Quitter("exit", "Ctrl-D"), Quitter("quit", "Ctrl-D")  # as `site` does
    program.warm_up()
    judge.warm_up()
    surroundings.arrange()
    gc.collect()
    gc.freeze()
    others = native.Native(**orders["native"]) if orders["native"] is not None else None
    server = fork_server.ForkServer(control, filters, statm, others)
    for name in [name for name in sys.modules if name.split(".")[0] == _TRUSTED]:
        del sys.modules[name]  # a program may not meet our modules, and may use their names
    sys.argv[:] = [""]
    server.serve(tasks)


def _take_deep_stack() -> None:
    """Start anew with a stack for deep recursion, unless this process has one: the kernel lays it out at the start."""
    soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
    most = _STACK if hard == resource.RLIM_INFINITY else min(_STACK, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_STACK, (most, hard))
        os.execv(sys.executable, sys.orig_argv)
    _thread.stack_size(_THREAD_STACK)  # else every thread of a program would take as much address space


def _become_init() -> None:
    """Fork the first process of the pid namespace and continue in it; the original process waits for it."""
    from trl_gift.sandbox.confine import kernel

    pid = os.fork()
    if pid:
        os.close(int(sys.argv[1]))
        _, status = os.waitpid(pid, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
    kernel.die_with_parent()


def _prefer_for_oom_killer() -> None:
    """Make the kernel kill a program, not the trainer, when memory runs out."""
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")


def _preload(names: list[str]) -> None:
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError:
            continue  # not installed, or not part of this Python


if __name__ == "__main__":
    main()
