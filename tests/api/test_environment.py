import pytest

from larder.api.environment import number, text
from larder.errors import InvalidInputError


def test_a_variable_that_must_be_set_is_asked_for_by_name():
    assert text({"A": "x"}, "A") == "x"
    with pytest.raises(InvalidInputError, match="A: '' is not allowed; it must be set"):
        text({"A": ""}, "A")


def test_a_number_that_is_not_set_is_the_default():
    assert number({}, "A", 7, int) == 7 and number({"A": ""}, "A", 0.5, float) == 0.5


@pytest.mark.parametrize(
    ("told", "parse", "allowed"),
    [
        ("x", int, "a whole number"),
        ("1.5", int, "a whole number"),
        ("x", float, "a number"),
        ("0", int, "positive"),
        ("-1", int, "positive"),
        ("inf", float, "positive"),
        ("nan", float, "positive"),
    ],
)
def test_a_wrong_number_is_refused_with_what_is_allowed(told, parse, allowed):
    with pytest.raises(InvalidInputError, match=f"A: .*{allowed}"):
        number({"A": told}, "A", 1, parse)
