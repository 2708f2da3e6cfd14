"""Each test of a cluster is asked of every overlay."""

import pytest

from tests.unit.k8s.cluster import OVERLAYS, Cluster, cluster


@pytest.fixture(params=OVERLAYS)
def overlay(request) -> str:
    """The name of an overlay."""
    return request.param


@pytest.fixture
def rendered_cluster(overlay) -> Cluster:
    """Its manifests, which no test may change."""
    return cluster(overlay)
