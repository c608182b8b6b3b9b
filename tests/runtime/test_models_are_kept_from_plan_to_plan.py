from larder.runtime.books import Books, Footprint, LoadFailure, ModelBook
from larder.runtime.gather import models_of
from tests.runtime import builders
from tests.runtime.builders import MIB


def test_a_model_of_which_nothing_changed_is_the_same_value():
    pool, serving, books, kept = builders.pool(), {"a": builders.model("a")}, Books(models={"a": ModelBook()}), {}
    first = models_of(pool, serving, books, kept=kept)
    books.models["a"].waits_because = "a load slot"
    assert models_of(pool, serving, books, kept=kept)["a"] is first["a"]


def test_what_was_learned_since_is_in_it():
    pool, serving, kept = builders.pool(), {"a": builders.model("a")}, {}
    book = ModelBook()
    books = Books(models={"a": book})
    models_of(pool, serving, books, kept=kept)
    book.footprint = Footprint("", 120 * MIB)
    assert models_of(pool, serving, books, kept=kept)["a"].memory_bytes == 120 * MIB
    book.failure = LoadFailure("it failed", 10.0, 1, ("", 0))
    assert models_of(pool, serving, books, kept=kept)["a"].retry_at_seconds == 11.0
    serving["a"] = builders.model("a", priority=3)
    assert models_of(pool, serving, books, kept=kept)["a"].priority == 3


def test_an_ensemble_takes_what_its_members_take_by_now():
    serving = {name: builders.model(name) for name in "ae"}
    books, kept = Books(models={"a": ModelBook(), "e": ModelBook(members=("a",))}), {}
    assert models_of(builders.pool(), serving, books, kept=kept)["e"].memory_bytes == 200 * MIB
    books.models["a"].footprint = Footprint("", 150 * MIB)
    assert models_of(builders.pool(), serving, books, kept=kept)["e"].memory_bytes == 250 * MIB


def test_a_model_that_is_gone_is_kept_no_longer():
    kept = {}
    models_of(builders.pool(), {"a": builders.model("a")}, Books(), kept=kept)
    assert models_of(builders.pool(), {}, Books(), kept=kept) == {} and kept == {}
