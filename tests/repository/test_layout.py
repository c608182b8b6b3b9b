"""The traps that break Python's own `operator` module, and the rule that the product stands alone."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def tracked_files() -> list[str]:
    listing = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return listing.stdout.splitlines()


def test_operator_is_only_a_source_root() -> None:
    assert not (ROOT / "operator" / "__init__.py").exists()


def test_no_tests_and_no_conftest_live_below_operator() -> None:
    below = [path for path in tracked_files() if path.startswith("operator/")]
    assert below
    assert [path for path in below if Path(path).name.startswith(("test_", "conftest"))] == []


def test_no_test_package_is_named_operator() -> None:
    assert not (ROOT / "tests" / "operator").exists()


def test_pythons_own_operator_module_stays_importable_from_the_repository() -> None:
    subprocess.run([sys.executable, "-c", "import operator; operator.itemgetter(0)"], cwd=ROOT, check=True)


def test_the_product_does_not_depend_on_anything_beside_the_repository() -> None:
    package = [ROOT / path for path in tracked_files() if path.startswith(("operator/", "helm/", "crds/"))]
    assert [path for path in package if "../shared" in path.read_text()] == []
