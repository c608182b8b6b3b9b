import pytest

from benchmarks.coldstart_parts import ColdStart, load_seconds

LOG = """\
I1123 09:05:09.381262 1 model_lifecycle.cc:472] "loading: alpha:1"
I1123 09:05:09.382262 1 python_be.cc:2249] "TRITONBACKEND_ModelInstanceInitialize: alpha_0_0 (CPU device 0)"
I1123 09:05:09.481262 1 model_lifecycle.cc:472] "loading: beta:1"
I1123 09:05:09.531382 1 model_lifecycle.cc:839] "successfully loaded 'alpha'"
"""


def test_tritons_own_load_time_is_between_two_lines_of_its_log() -> None:
    assert load_seconds(LOG) == {"alpha": [pytest.approx(0.15012)]}


def test_the_overhead_is_what_neither_the_load_nor_the_model_itself_takes() -> None:
    timed = ColdStart(first_seconds=0.2, compute_seconds=0.003, load_seconds=0.15)
    assert timed.overhead_seconds == pytest.approx(0.047)
