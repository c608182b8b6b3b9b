"""The cluster's control group is made and read the same way on cgroup v1 and v2."""

from pathlib import Path

from e2e.cluster import cgroups


def v1(folder: Path) -> tuple[Path, ...]:
    roots = tuple(folder / name for name in ("cpuset", "memory", "pids"))
    for root in roots:
        root.mkdir()
    (folder / "cpuset" / "cpuset.cpus").write_text("0-1\n")
    (folder / "cpuset" / "cpuset.mems").write_text("0\n")
    for name in ("cluster", "cluster/system"):
        (folder / "cpuset" / name).mkdir()
        (folder / "cpuset" / name / "cpuset.cpus").write_text("\n")
        (folder / "cpuset" / name / "cpuset.mems").write_text("\n")
    return roots


def v2(folder: Path) -> tuple[Path, ...]:
    for name in ("", "cluster"):
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "cgroup.controllers").write_text("cpuset cpu io memory hugetlb pids\n")
        (folder / name / "cgroup.subtree_control").write_text("")
    return (folder,)


def test_on_v1_the_group_is_made_in_every_hierarchy_with_its_processors_and_memory_filled_in(tmp_path: Path) -> None:
    roots = v1(tmp_path)
    cgroups.prepare("cluster", roots)
    assert all((root / "cluster" / "system").is_dir() for root in roots)
    assert (tmp_path / "cpuset/cluster/system/cpuset.cpus").read_text() == "0-1\n"
    assert (tmp_path / "cpuset/cluster/system/cpuset.mems").read_text() == "0\n"
    assert len(cgroups.entry_files("cluster", roots)) == 3


def test_on_v2_controllers_are_handed_down_but_not_to_the_leaf_that_holds_programs(tmp_path: Path) -> None:
    roots = v2(tmp_path)
    cgroups.prepare("cluster", roots)
    handed_down = "+cpu +cpuset +io +memory +pids"
    assert (tmp_path / "cgroup.subtree_control").read_text() == handed_down
    assert (tmp_path / "cluster" / "cgroup.subtree_control").read_text() == handed_down
    assert not (tmp_path / "cluster" / "system" / "cgroup.subtree_control").exists()
    assert cgroups.entry_files("cluster", roots) == (tmp_path / "cluster" / "system" / "cgroup.procs",)


def test_the_group_lists_programs_and_containers_however_deep(tmp_path: Path) -> None:
    roots = v1(tmp_path)
    pods = tmp_path / "pids" / "cluster" / "kubepods" / "pod1"
    pods.mkdir(parents=True)
    (pods / "cgroup.procs").write_text("30\n31\n")
    system = tmp_path / "pids" / "cluster" / "system"
    system.mkdir()
    (system / "cgroup.procs").write_text("7\n")
    assert cgroups.processes("cluster", roots) == {7, 30, 31}
    assert cgroups.processes("cluster", roots, cgroups.PODS) == {30, 31}
    assert cgroups.processes("absent", roots) == frozenset()


def test_removing_the_group_leaves_its_neighbours(tmp_path: Path) -> None:
    roots = (tmp_path,)
    for name in ("cluster/kubepods/pod1", "cluster/system", "other"):
        (tmp_path / name).mkdir(parents=True)
    cgroups.remove("cluster", roots)
    assert [path.name for path in tmp_path.iterdir()] == ["other"]
    cgroups.remove("cluster", roots)


def test_a_group_that_goes_while_it_is_listed_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "cluster" / "pod").mkdir(parents=True)
    listed = cgroups._below(tmp_path / "cluster")
    assert next(listed) == tmp_path / "cluster"
    cgroups.remove("cluster", (tmp_path,))
    assert list(listed) == []
