"""The picture of a run: five panels over one axis of time."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from e2e.replay.timeline import Step
from e2e.replay.watching import Sample

DARK, ACCENT, QUIET, WARM = "#274c5e", "#d95f02", "#9db4c0", "#c44536"
MIB: Final = 2**20
HEADROOM: Final = 1.15


def draw(path: Path, title: str, found: Sequence[Step], samples: Sequence[Sample], most_pods: int) -> None:
    """Write the plot; its format is that of the file's name."""
    from matplotlib.figure import Figure  # noqa: PLC0415 (slow to import, and only plots need it)

    figure = Figure(figsize=(9, 9.5), layout="constrained")
    rate, resident, memory, pods, attained = figure.subplots(5, 1, sharex=True, height_ratios=[3, 2, 2, 1.4, 2])
    figure.suptitle(title, fontsize=11, x=0.01, ha="left")
    at = [s.at_seconds / 60.0 for s in samples]
    _requests(rate, found)
    _resident(resident, at, samples)
    _memory(memory, at, samples)
    _pods(pods, at, samples, most_pods)
    _attained(attained, found)
    for axes in (rate, resident, memory, pods, attained):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#e5e9ec", linewidth=0.8)
        axes.set_axisbelow(True)
    attained.set_xlabel("minutes since the replay began")
    attained.set_xlim(0, found[-1].to_seconds / 60.0)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def _edges(found: Sequence[Step]) -> tuple[list[float], float]:
    width = found[0].to_seconds - found[0].from_seconds
    return [step.from_seconds / 60.0 for step in found], width / 60.0


def _requests(axes: Any, found: Sequence[Step]) -> None:
    left, width = _edges(found)
    seconds = width * 60.0
    hot = [(step.requests - step.cold) / seconds for step in found]
    cold = [step.cold / seconds for step in found]
    axes.bar(left, hot, width, align="edge", color=QUIET, label="model was resident")
    axes.bar(left, cold, width, bottom=hot, align="edge", color=ACCENT, label="cold")
    axes.set_ylabel("requests / s")
    axes.legend(frameon=False, loc="upper left", ncols=2, fontsize=9)
    axes.margins(y=0.2)


def _resident(axes: Any, at: Sequence[float], samples: Sequence[Sample]) -> None:
    axes.step(at, [s.copies for s in samples], where="post", color=QUIET, label="copies")
    axes.step(at, [s.resident for s in samples], where="post", color=DARK, label="models")
    axes.set_ylabel("resident")
    axes.set_ylim(0)
    axes.legend(frameon=False, loc="lower right", ncols=2, fontsize=9)


def _memory(axes: Any, at: Sequence[float], samples: Sequence[Sample]) -> None:
    used = [float("nan") if s.used_bytes is None else s.used_bytes / MIB for s in samples]
    budget = [float("nan") if s.budget_bytes is None else s.budget_bytes / MIB for s in samples]
    axes.fill_between(at, used, step="post", color=DARK, alpha=0.25, linewidth=0)
    axes.step(at, used, where="post", color=DARK, label="used")
    axes.step(at, budget, where="post", color=ACCENT, linestyle="--", label="budget")
    axes.set_ylabel("memory, MiB")
    axes.set_ylim(0)
    axes.legend(frameon=False, loc="lower right", ncols=2, fontsize=9)


def _pods(axes: Any, at: Sequence[float], samples: Sequence[Sample], most_pods: int) -> None:
    axes.fill_between(at, [s.pods for s in samples], step="post", color=QUIET, alpha=0.6, linewidth=0, label="exist")
    axes.step(at, [s.ready for s in samples], where="post", color=DARK, label="ready")
    axes.set_ylabel("pods")
    axes.set_ylim(0, most_pods * HEADROOM)
    axes.set_yticks(range(most_pods + 1))
    axes.legend(frameon=False, loc="upper left", ncols=2, fontsize=9)


def _attained(axes: Any, found: Sequence[Step]) -> None:
    left, width = _edges(found)
    middle = [at + width / 2.0 for at in left]
    shares = [float("nan") if step.attainment is None else 100.0 * step.attainment for step in found]
    total = sum(step.met for step in found) / max(1, sum(step.requests for step in found))
    axes.plot(middle, shares, color=DARK, marker="o", markersize=3)
    axes.axhline(100.0 * total, color=WARM, linewidth=1, linestyle=":", label=f"whole run {total:.2%}")
    axes.set_ylabel("attained, %")
    axes.set_ylim(min(80.0, *(100.0 * s.attainment for s in found if s.attainment is not None)) - 2.0, 101.0)
    axes.legend(frameon=False, loc="lower right", fontsize=9)
