"""Counters of Models as they are read: summed over workers, from where a Model began, gone with it."""

import struct
import time

import pytest

from larder.api.demand import ModelCount
from larder.gateway.board import SLOTS
from larder.gateway.tallies import FIELDS, FIRST_BUCKET, MET, MISSED, OK, SERVER_ERROR, SUM, Tallies, render


class Worker:
    def __init__(self, folder, number):
        self.path = folder / f"counters-{number}"
        with self.path.open("wb") as file:
            file.truncate(FIELDS * SLOTS * 8)

    def add(self, slot, *fields, amount=1.0):
        with self.path.open("r+b") as file:
            for field in fields:
                file.seek((field * SLOTS + slot) * 8)
                (value,) = struct.unpack("d", file.read(8))
                file.seek((field * SLOTS + slot) * 8)
                file.write(struct.pack("d", value + amount))


def test_growth_is_summed_over_workers_and_told_once(tmp_path):
    one, other, tallies = Worker(tmp_path, 0), Worker(tmp_path, 1), Tallies(tmp_path)
    tallies.own({"a": 0, "b": 5})
    one.add(0, OK, MET)
    other.add(0, SERVER_ERROR, MISSED)
    assert tallies.growth() == {"a": ModelCount(2, None, 1, 1)}
    assert tallies.growth() == {}
    other.add(5, OK)
    assert tallies.growth() == {"b": ModelCount(1, None, 0, 0)}


def test_a_worker_that_comes_later_is_found_and_one_that_ended_still_counts(tmp_path):
    tallies = Tallies(tmp_path)
    tallies.own({"a": 0})
    assert tallies.growth() == {}
    Worker(tmp_path, 0).add(0, OK)
    Worker(tmp_path, 1).add(0, OK)
    assert tallies.totals()["a"][OK] == 2


def test_a_slot_that_passes_on_begins_anew(tmp_path):
    worker, tallies = Worker(tmp_path, 0), Tallies(tmp_path)
    tallies.own({"a": 3})
    worker.add(3, OK, MET)
    tallies.growth()
    tallies.own({"b": 3})
    assert tallies.totals() == {}
    worker.add(3, OK)
    assert tallies.growth() == {"b": ModelCount(1, None, 0, 0)}


def test_a_model_has_at_most_16_series_on_the_page_with_what_waits(tmp_path):
    worker, tallies = Worker(tmp_path, 0), Tallies(tmp_path)
    tallies.own({'q"': 0, "quiet": 1})
    worker.add(0, OK, MET, FIRST_BUCKET + 1)
    worker.add(0, SUM, amount=0.0125)
    lines = [line for line in render(tallies.totals()).splitlines() if not line.startswith("#")]
    assert len(lines) == 15
    assert 'larder_requests_total{model="q\\"",class="ok"} 1' in lines
    assert 'larder_seconds_bucket{model="q\\"",le="0.005"} 0' in lines
    assert 'larder_seconds_bucket{model="q\\"",le="0.02"} 1' in lines
    assert 'larder_seconds_sum{model="q\\""} 0.0125' in lines


@pytest.mark.timeout(30)
def test_a_page_of_10_000_models_is_under_10_mb_and_2_seconds(tmp_path):
    worker, tallies = Worker(tmp_path, 0), Tallies(tmp_path)
    names = {f"team-a-model-{number:05}": number for number in range(10_000)}
    tallies.own(names)
    with worker.path.open("r+b") as file:
        file.write(struct.pack("d", 123456.0) * (FIELDS * SLOTS))
    began = time.perf_counter()
    text = render(tallies.totals())
    assert time.perf_counter() - began < 2.0
    assert len(text.encode()) < 10_000_000
    assert text.count("\n") > 150_000
