"""The residency annotation: written by the operator, read by gateways and by the next operator."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from larder.api.residency import MAX_BYTES, Residency, Resident, decode, encode, term_of
from larder.errors import InvalidInputError

residents = st.builds(
    Resident,
    revision=st.text(max_size=20),
    memory_bytes=st.integers(0, 2**50),
    since_seconds=st.integers(0, 2**31).map(float),
    routable=st.booleans(),
)
records = st.builds(
    Residency,
    container_id=st.text(max_size=80),
    term=st.integers(0, 2**31),
    generation=st.integers(0, 2**31),
    models=st.dictionaries(st.text(min_size=1, max_size=30), residents, max_size=5),
)


@given(records)
def test_what_is_written_is_read_back(record: Residency) -> None:
    assert decode(encode(record)) == record


def test_a_draining_model_is_kept_but_not_routable() -> None:
    record = Residency("containerd://1", models={"a": Resident(), "b": Resident(routable=False)})
    assert record.routable == {"a"}


def test_a_later_term_outranks_any_generation_of_an_earlier_one() -> None:
    assert Residency("c", term=2, generation=1).version > Residency("c", term=1, generation=9).version


def test_a_record_over_the_limit_is_refused_with_its_size() -> None:
    models = {f"model-{n:06}": Resident(revision="r" * 40) for n in range(MAX_BYTES // 80)}
    with pytest.raises(InvalidInputError, match=r"at most 204800 bytes"):
        encode(Residency("c", models=models))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"containerID":"c","term":"x"}', "null", '{"models":3}'])
def test_a_foreign_annotation_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(InvalidInputError, match="written by the operator only"):
        decode(text)


def test_the_term_is_read_without_reading_the_models() -> None:
    record = Residency("containerd://1", term=12, generation=3, models={'"term":99': Resident()})
    assert term_of(encode(record)) == 12
    assert term_of("not ours") == 0
