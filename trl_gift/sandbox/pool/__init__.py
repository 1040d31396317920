"""The trainer's side of the local sandbox: slots, worker processes, outcomes, the host process, the isolation probes."""
