"""The objects that the demo applies: `demo.yaml` as it is, and the ConfigMap with the models that it mounts."""

from pathlib import Path
from typing import Final

import yaml

from e2e import models
from e2e.kube import Manifest

NAMESPACE: Final = "larder-demo"
POOL: Final = "demo"
STARTED_CLUSTER: Final = "larder.dev/demo-started-cluster"
"""Annotation of the namespace: the demo brought the cluster up, so that demo-down takes it down."""
FILE: Final = Path(__file__).with_name("demo.yaml")


def namespace(started_cluster: bool) -> Manifest:
    """Return the namespace, which remembers whether the demo brought the cluster up."""
    metadata: Manifest = {"name": NAMESPACE}
    if started_cluster:
        metadata["annotations"] = {STARTED_CLUSTER: "true"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


def repository() -> Manifest:
    """Return the ConfigMap with the three models."""
    return models.volume("demo-models", models.demo()).config_map


def pool_and_models() -> list[Manifest]:
    """Return the pool and its models, in that order."""
    return [document for document in yaml.safe_load_all(FILE.read_text()) if document]
