"""What is made from something else, and the check that it is in step.

`crds/` is the source of the custom resource definitions; the chart carries them as templates. The chart is the source
of `manifests/install.yaml`, the same installation for `kubectl apply`. The demo's objects and models become one sample.
"""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import click
import yaml

from e2e.demo import manifests as demo
from larder.errors import LarderError
from tools import helm

ROOT: Final = Path(__file__).resolve().parents[1]
CHART: Final = ROOT / "helm" / "larder"
NAMESPACE: Final = "larder-system"
KUBERNETES: Final = "1.36.0"
"""What to render for; a helm made by `go install` takes itself for an old one."""
INSTALL: Final = "manifests/install.yaml"
DEMO: Final = "manifests/samples/demo.yaml"

_CHART_ONLY_LABELS: Final = ("helm.sh/chart", "app.kubernetes.io/managed-by")
_CHART_ONLY_ANNOTATIONS: Final = ("helm.sh/resource-policy",)

_CRD_METADATA: Final = """\
  labels:
    {{- include "larder.labels" . | nindent 4 }}
  {{- if .Values.crds.keep }}
  annotations:
    helm.sh/resource-policy: keep
  {{- end }}
"""
_INSTALL_HEADER: Final = """\
# Larder in namespace larder-system, made from helm/larder by `make render`. Apply with
#   kubectl apply --server-side -f manifests/install.yaml
"""

_DEMO_HEADER: Final = """\
# What `make demo` applies, in one file, made by `make render`. The models need py3langid, magika, onnxruntime and
# vaderSentiment in the Triton image, as in e2e/images/triton.
"""


class OutOfStepError(LarderError):
    """A made file is not what its source gives."""


@click.command(help=__doc__)
@click.option("--check", is_flag=True, help="Write nothing; fail if a file is not in step with its source.")
def main(check: bool) -> None:
    """Write what is made, or check it."""
    try:
        sync(crd_templates(ROOT), check=check)
        helm.run("lint", "--strict", "--kube-version", KUBERNETES, str(CHART))
        sync({INSTALL: install_manifest(), DEMO: demo_manifest()}, check=check)
    except LarderError as error:
        sys.exit(f"render: {error}")


def sync(files: Mapping[str, str], *, check: bool) -> None:
    """Write the files, by path from the root. With `check`, raise OutOfStepError naming those that would change."""
    changed = {path: text for path, text in files.items() if _read(ROOT / path) != text}
    if check and changed:
        raise OutOfStepError(
            f"{', '.join(changed)}: not in step with the source; run `make render` and commit the result"
        )
    for path, text in changed.items():
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(text)


def crd_templates(root: Path) -> dict[str, str]:
    """Return the chart's templates of the custom resource definitions in `crds/`, by path from the root."""
    sources = sorted((root / "crds").glob("*.yaml"))
    return {f"helm/larder/templates/crds/{source.name}": crd_template(source.read_text()) for source in sources}


def crd_template(definition: str) -> str:
    """Return the definition as a template: switchable, labelled, and kept when the release is uninstalled."""
    if "{{" in definition:
        raise OutOfStepError("a custom resource definition holds '{{', which a template would evaluate")
    head, separator, spec = definition.partition("\nspec:\n")
    if not separator or "  labels:" in head or "  annotations:" in head:
        raise OutOfStepError("a custom resource definition has metadata.name alone, then spec")
    note = "{{- /* Made from crds/ by `make render`. */}}\n"
    return f"{note}{{{{- if .Values.crds.install }}}}\n{head}\n{_CRD_METADATA}spec:\n{spec}{{{{- end }}}}\n"


def install_manifest() -> str:
    """Return the rendered chart with its namespace, without what only Helm reads."""
    rendered = helm.run("template", "larder", str(CHART), "--namespace", NAMESPACE, "--kube-version", KUBERNETES)
    documents = [_namespace(), *(_without_helm(item) for item in yaml.safe_load_all(rendered) if item)]
    return _INSTALL_HEADER + "---\n".join(_dump(sorted(documents, key=_order)))


def demo_manifest() -> str:
    """Return the demo's models, as their ConfigMap, before the pool that mounts it and the Models of that pool."""
    return f"{_DEMO_HEADER}{yaml.safe_dump(demo.repository(), sort_keys=False, width=120)}---\n{demo.FILE.read_text()}"


def _namespace() -> dict[str, Any]:
    labels = {"app.kubernetes.io/name": "larder", "pod-security.kubernetes.io/enforce": "restricted"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}}


def _order(document: Mapping[str, Any]) -> int:
    """Namespace and definitions first, the rest as Helm orders it."""
    first = ("Namespace", "CustomResourceDefinition")
    return first.index(document["kind"]) if document["kind"] in first else len(first)


def _without_helm(document: dict[str, Any]) -> dict[str, Any]:
    metadata = document["metadata"]
    pod = document["spec"]["template"]["metadata"] if document["kind"] == "Deployment" else {}
    for part in (metadata, pod):
        _drop(part, "labels", _CHART_ONLY_LABELS)
        _drop(part, "annotations", _CHART_ONLY_ANNOTATIONS)
    return document


def _drop(metadata: dict[str, Any], field: str, names: tuple[str, ...]) -> None:
    if field in metadata:
        metadata[field] = {name: value for name, value in metadata[field].items() if name not in names}
        if not metadata[field]:
            del metadata[field]


class _WithoutAliases(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        return True


def _dump(documents: list[dict[str, Any]]) -> Iterator[str]:
    for document in documents:
        yield yaml.dump(document, Dumper=_WithoutAliases, sort_keys=False, width=120, allow_unicode=True)


def _read(path: Path) -> str | None:
    return path.read_text() if path.exists() else None


if __name__ == "__main__":
    main()
