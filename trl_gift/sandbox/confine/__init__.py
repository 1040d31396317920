"""The layers that confine a process: namespaces, Landlock, seccomp, limits. Imports nothing else of the sandbox."""
