"""Quantities, durations and times as text and as numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from larder.api.quantities import (
    MAX_BYTES,
    format_seconds,
    format_time,
    parse_bytes,
    parse_seconds,
    parse_time,
)
from larder.core.units import format_bytes
from larder.errors import InvalidInputError


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("1", 1),
        (4096, 4096),
        ("512Mi", 512 * 2**20),
        ("1.5Gi", 3 * 2**29),
        ("2G", 2_000_000_000),
        ("1e3", 1000),
        ("1E", None),
        ("1500m", 2),
        (".5Ki", 512),
        ("5.Ki", 5120),
        ("+5k", 5000),
        ("1Pi", 2**50),
    ],
)
def test_a_quantity_is_read_as_whole_bytes_rounded_up(text: object, amount: int | None) -> None:
    if amount is None:
        with pytest.raises(InvalidInputError):
            parse_bytes("spec.memory", text)
    else:
        assert parse_bytes("spec.memory", text) == amount


WRONG = [
    "",
    "abc",
    "-1Gi",
    "0",
    "1 Gi",
    "1gi",
    "1GiB",
    "NaN",
    "Infinity",
    "1_000",
    "٣",
    "1e3Gi",
    "1100Ti",
    "1e999999999",
]


@pytest.mark.parametrize("text", [*WRONG, None, True, 1.5, [], {}])
def test_a_wrong_quantity_is_refused_with_field_value_and_what_is_allowed(text: object) -> None:
    with pytest.raises(InvalidInputError, match=r"^spec\.memory: .* is not allowed; .*such as 512Mi") as refused:
        parse_bytes("spec.memory", text)
    assert repr(text) in str(refused.value)


def test_zero_is_a_quantity_only_where_it_is_allowed() -> None:
    assert parse_bytes("spec.memory.base", "0", allow_zero=True) == 0
    with pytest.raises(InvalidInputError, match="from 1 to 1Pi"):
        parse_bytes("spec.memory.budget", "0")


@given(st.integers(1, MAX_BYTES))
def test_a_size_as_it_is_written_reads_back_within_a_twentieth_of_its_unit(amount: int) -> None:
    assert parse_bytes("size", format_bytes(amount)) == pytest.approx(amount, rel=0.05)


@pytest.mark.parametrize(
    ("text", "seconds"), [("50ms", 0.05), ("2s", 2.0), ("1m30s", 90.0), ("1h", 3600.0), ("0s1ms", 0.001)]
)
def test_a_duration_is_read_as_seconds(text: str, seconds: float) -> None:
    assert parse_seconds("spec.slo.latency", text) == seconds


@pytest.mark.parametrize("text", ["", "5", "0s", "-1s", "1.5s", "1d", "50 ms", "2s\n", "٣s", 5, None, True])
def test_a_wrong_duration_is_refused_with_field_value_and_what_is_allowed(text: object) -> None:
    with pytest.raises(InvalidInputError, match=r"^spec\.slo\.latency: .* is not allowed; .*such as 50ms"):
        parse_seconds("spec.slo.latency", text)


@given(st.integers(1, 10**9))
def test_a_duration_survives_being_written_and_read(milliseconds: int) -> None:
    seconds = milliseconds / 1000
    assert parse_seconds("duration", format_seconds(seconds)) == pytest.approx(seconds)


@given(st.integers(0, 2**32))
def test_a_time_survives_being_written_and_read(seconds: int) -> None:
    assert parse_time("time", format_time(seconds)) == seconds


@pytest.mark.parametrize("text", ["", "yesterday", None, 5, "9999999-01-01T00:00:00Z"])
def test_a_wrong_time_is_refused(text: object) -> None:
    with pytest.raises(InvalidInputError, match=r"^created: "):
        parse_time("created", text)
