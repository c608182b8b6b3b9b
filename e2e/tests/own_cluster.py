"""What is done only to a cluster of this machine: operators killed, nodes cut off, the API server away."""

import os

import pytest

from e2e.cluster.settings import from_environment
from e2e.target import is_given

only = pytest.mark.skipif(
    is_given(from_environment(), os.environ),
    reason="KUBECONFIG names a cluster, whose operators, nodes and API server are not a test's to take away",
)
