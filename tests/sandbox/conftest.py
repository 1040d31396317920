"""One sandbox for the tests that only need a sandbox, and a Ray cluster of two nodes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from trl_gift.sandbox import Limits, LocalSandbox, Sandbox


@pytest.fixture(scope="session")
def sandbox() -> Iterator[LocalSandbox]:
    with LocalSandbox(num_workers=1, limits=Limits(cpu_s=5, wall_s=15, memory_mb=512)) as pool:
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

    with RaySandbox(limits=Limits(cpu_s=1, wall_s=3, memory_mb=512)) as sandbox:
        yield sandbox
