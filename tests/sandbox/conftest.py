"""One sandbox for the tests that only need a sandbox, a client of an HTTP sandbox, and a Ray cluster of two nodes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer

import pytest

from tests.support.fusion_server import Handler
from tests.support.processes import BACKSTOP_S
from trl_gift.sandbox import Limits, LocalSandbox, Sandbox, SandboxFusionSandbox


@pytest.fixture(scope="session")
def sandbox() -> Iterator[LocalSandbox]:
    with LocalSandbox(num_workers=1, limits=Limits(cpu_s=5, wall_s=BACKSTOP_S, memory_mb=512)) as pool:
        yield pool


@pytest.fixture(scope="module")
def cluster() -> Iterator[object]:
    """Two nodes of Ray on this machine."""
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    machines = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 80 << 20})
    machines.add_node(num_cpus=1, object_store_memory=80 << 20)
    ray.init(address=machines.address, log_to_driver=False)
    yield machines
    ray.shutdown()
    machines.shutdown()


@pytest.fixture
def ray_pool(cluster) -> Iterator[Sandbox]:
    from trl_gift.sandbox import RaySandbox

    with RaySandbox(limits=Limits(cpu_s=1, wall_s=BACKSTOP_S, memory_mb=512)) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def server() -> Iterator[ThreadingHTTPServer]:
    with LocalSandbox(num_workers=1) as pool:
        Handler.sandbox, Handler.requests, Handler.trouble = pool, [], []
        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
            thread = threading.Thread(target=http.serve_forever)
            thread.start()
            yield http
            http.shutdown()
            thread.join()


@pytest.fixture
def remote(server) -> Iterator[SandboxFusionSandbox]:
    Handler.requests.clear()
    Handler.trouble.clear()
    with SandboxFusionSandbox(
        f"http://127.0.0.1:{server.server_port}/", num_workers=2, limits=Limits(cpu_s=1, wall_s=BACKSTOP_S)
    ) as sandbox:
        yield sandbox
