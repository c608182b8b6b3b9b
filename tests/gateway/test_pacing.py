"""A copy gets as many held requests at once as its window lets it."""

from larder.gateway.pacing import FIRST_WINDOW, LARGEST_WINDOW, REST_SECONDS, Window


def used(window):
    while window.has_room(1e9):
        window.take()
    return window


def test_the_window_grows_with_every_answer_that_came_while_it_was_full():
    window = used(Window())
    for _ in range(FIRST_WINDOW):
        window.give_back(answered=True)
        used(window)
    assert window.size == 2 * FIRST_WINDOW
    for _ in range(2 * LARGEST_WINDOW):
        window.give_back(answered=True)
        used(window)
    assert window.size == LARGEST_WINDOW


def test_it_does_not_grow_while_little_is_asked_nor_without_an_answer():
    window = Window()
    window.take()
    window.give_back(answered=True)
    window = used(window)
    window.give_back()
    assert window.size == FIRST_WINDOW


def test_a_burst_that_finds_the_queue_full_halves_it_once_and_gives_it_a_rest():
    window = used(Window())
    for _ in range(FIRST_WINDOW):
        window.shrink(10.0)
        window.give_back()
    assert window.size == FIRST_WINDOW // 2
    assert not window.has_room(10.0)
    assert window.has_room(10.0 + REST_SECONDS)
    for turn in range(20):
        window.shrink(11.0 + turn)
    assert window.size == 1
