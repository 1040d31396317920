"""Simulates machines that lack a layer: a seccomp filter takes it from this process and all of its children."""

from __future__ import annotations

import ctypes
import struct

from trl_gift.sandbox.confine import kernel, syscalls

_LD, _JEQ, _RET, _ALLOW, _ERRNO = 0x20, 0x15, 0x06, 0x7FFF0000, 0x00050000
_ENOSYS, _EPERM, _EINVAL = 38, 1, 22
_CALLS = {"landlock": ("landlock_create_ruleset", _ENOSYS), "namespaces": ("unshare", _EPERM)}


def deny(layer: str) -> None:
    """Make `layer` unavailable from now on, as on a machine that never had it."""
    architecture = syscalls.machine()
    assert architecture is not None
    code = [(_LD, 0, 0, 0)]
    if layer == "seccomp":  # prctl(PR_SET_SECCOMP) fails as on a kernel built without filters
        prctl = syscalls.number("prctl", architecture)
        code += [
            (_JEQ, 0, 3, prctl),
            (_LD, 0, 0, 16),
            (_JEQ, 0, 1, kernel.PR_SET_SECCOMP),
            (_RET, 0, 0, _ERRNO | _EINVAL),
        ]
    else:
        name, error = _CALLS[layer]
        code += [(_JEQ, 0, 1, syscalls.number(name, architecture)), (_RET, 0, 0, _ERRNO | error)]
    code.append((_RET, 0, 0, _ALLOW))
    body = b"".join(struct.pack("=HBBI", *instruction) for instruction in code)
    buffer = ctypes.create_string_buffer(body, len(body))
    header = ctypes.create_string_buffer(struct.pack("@HxxxxxxQ", len(code), ctypes.addressof(buffer)), 16)
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    kernel.prctl(kernel.PR_SET_SECCOMP, kernel.SECCOMP_MODE_FILTER, ctypes.addressof(header))
