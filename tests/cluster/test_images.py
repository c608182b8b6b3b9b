"""An image is rebuilt when, and only when, something it is made of changed."""

import json
from pathlib import Path

import pytest

from e2e.cluster import images, rootfs
from tests.cluster import builders


def with_base(folder: Path, content: str = "base") -> None:
    archive = rootfs.archive(builders.settings(folder))
    archive.parent.mkdir(parents=True, exist_ok=True)
    archive.write_text(content)
    archive.with_suffix(".digest").write_text(content)


def test_the_same_content_has_the_same_reference(tmp_path: Path) -> None:
    with_base(tmp_path)
    settings = builders.settings(tmp_path)
    for role in images.ROLES:
        assert images.describe(settings, role) == images.describe(settings, role)


def test_a_new_base_makes_every_image_on_it_new(tmp_path: Path) -> None:
    settings = builders.settings(tmp_path)
    with_base(tmp_path)
    before = {role: images.describe(settings, role).reference for role in images.ROLES}
    with_base(tmp_path, "another")
    assert all(images.describe(settings, role).reference != before[role] for role in images.ROLES)


def test_a_new_program_makes_its_image_new(tmp_path: Path) -> None:
    program = tmp_path / "coredns"
    program.write_text("one")
    before = images.describe(builders.settings(tmp_path), images.COREDNS, program)
    program.write_text("two")
    assert images.describe(builders.settings(tmp_path), images.COREDNS, program).key != before.key


def test_larders_image_is_made_of_the_package_and_nothing_that_running_it_leaves(tmp_path: Path) -> None:
    with_base(tmp_path)
    names = set(images.describe(builders.settings(tmp_path), images.LARDER).context)
    assert {"Dockerfile", "pyproject.toml", "README.md", "LICENSE", "operator/larder/errors.py"} <= names
    assert not [name for name in names if name.endswith(".pyc") or name.startswith(("tests", "e2e"))]


@pytest.mark.parametrize("reference", ["localhost/larder/triton:abc", "registry.example:5000/larder/triton:abc"])
def test_a_reference_is_split_as_the_chart_has_it(reference: str) -> None:
    assert images.split(reference) == {"repository": reference.removesuffix(":abc"), "tag": "abc"}


def test_the_values_name_the_three_images_of_the_chart() -> None:
    references = {role: f"localhost/larder/{role}:1" for role in images.ROLES}
    values = json.loads(images.values(references))
    assert set(values) == {"images"}
    assert set(values["images"]) == {"larder", "triton", "envoy"}
