"""Made files are in step with their sources, and the tool that makes them says what is wrong."""

from pathlib import Path

import pytest
import yaml

from tools import helm, render

ROOT = Path(__file__).parents[2]


def definition(plural: str) -> dict[str, object]:
    found = yaml.safe_load((ROOT / "crds" / f"larder.dev_{plural}.yaml").read_text())
    assert isinstance(found, dict)
    return found


def test_the_charts_definitions_are_in_step_with_their_source() -> None:
    render.sync(render.crd_templates(ROOT), check=True)


@pytest.mark.parametrize("plural", ["models", "modelpools"])
def test_the_manifests_definitions_are_those_of_the_source(plural: str) -> None:
    documents = yaml.safe_load_all((ROOT / render.INSTALL).read_text())
    (installed,) = [item for item in documents if item["metadata"]["name"] == f"{plural}.larder.dev"]
    assert installed["spec"] == definition(plural)["spec"]


def test_the_chart_can_keep_or_leave_out_its_definitions() -> None:
    template = render.crd_template("kind: X\nmetadata:\n  name: x\nspec:\n  a: 1\n")
    assert template.count("{{- if .Values.crds.install }}") == 1
    assert "  {{- if .Values.crds.keep }}\n  annotations:\n    helm.sh/resource-policy: keep\n" in template
    assert template.endswith("spec:\n  a: 1\n{{- end }}\n")


@pytest.mark.parametrize("text", ["metadata:\n  name: '{{x}}'\nspec:\n", "metadata:\n  name: x\n"])
def test_a_definition_that_would_not_survive_as_a_template_is_refused(text: str) -> None:
    with pytest.raises(render.OutOfStepError):
        render.crd_template(text)


def test_a_file_out_of_step_is_named_with_the_command_that_makes_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(render, "ROOT", tmp_path)
    with pytest.raises(render.OutOfStepError, match=r"made\.yaml: .*make render"):
        render.sync({"made.yaml": "a"}, check=True)
    render.sync({"made.yaml": "a"}, check=False)
    render.sync({"made.yaml": "a"}, check=True)


def test_a_missing_helm_is_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("LARDER_CACHE", str(tmp_path))
    with pytest.raises(helm.HelmError, match="install Helm 3"):
        helm.find()


@pytest.mark.parametrize("plural", ["models", "modelpools"])
def test_every_field_says_what_it_is_for(plural: str) -> None:
    silent: list[str] = []

    def visit(node: dict[str, object], path: str) -> None:
        if "description" not in node and path != ".metadata":
            silent.append(path)
        for name, field in (node.get("properties") or {}).items():  # type: ignore[attr-defined]
            visit(field, f"{path}.{name}")
        for inner in ("items", "additionalProperties"):
            if isinstance(node.get(inner), dict):
                visit(node[inner], f"{path}[]")  # type: ignore[arg-type]

    version = definition(plural)["spec"]["versions"][0]  # type: ignore[index]
    visit(version["schema"]["openAPIV3Schema"], "")
    assert silent == []
