"""The routing board as a reader finds it: the last line about a name counts, and a full board leads to the next."""

import mmap
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from larder.gateway import board
from larder.gateway.board import Board, Entry, Places
from larder.gateway.routes import Endpoint

IPS = ("10.0.0.1", "10.0.0.2", "fd00::1")


def on(*ips):
    return tuple(Endpoint(f"uid-{ip}", f"pod-{ip}", ip, (1, 1)) for ip in ips)


class Reader:
    """Reads as Envoy's workers do, each line once."""

    def __init__(self, folder):
        self.path = Path(folder) / "board"
        self.open()

    def open(self):
        with self.path.open("rb") as file:
            self.file = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.at, self.pods, self.models = 0, {}, {}

    def read(self):
        while (stop := self.file.find(b"\n", self.at)) >= 0:
            kind, _, rest = self.file[self.at : stop].decode().partition(" ")
            self.at = stop + 1
            match kind:
                case "P":
                    number, address = rest.split(" ", 1)
                    self.pods[number] = address.strip("[]")
                case "M":
                    slot, hot, cold, ready, pods, name = rest.split(" ", 5)
                    listed = [self.pods[number] for number in pods.split(",") if pods != "-"]
                    self.models[name] = (int(slot), int(hot), int(cold), ready == "1", listed)
                case "D":
                    del self.models[rest]
                case "X":
                    self.open()
        return self.models


def test_a_change_of_one_model_is_one_line(tmp_path):
    written = Board(tmp_path)
    entries = {f"m{number}": Entry(0.1, 1.1, copies=on(IPS[0])) for number in range(1000)}
    assert written.update(entries, 0.0) == 1001
    reader = Reader(tmp_path)
    assert reader.read()["m7"] == (7, 100_000, 1_100_000, True, [IPS[0]])
    assert written.update({"m7": Entry(0.1, 1.1), "m8": entries["m8"]}, 1.0) == 1
    assert reader.read()["m7"] == (7, 100_000, 1_100_000, False, [])
    assert written.update({"m7": Entry(0.1, 1.1)}, 1.0) == 0
    assert written.update({"m7": None, "unheard of": None}, 1.0) == 1
    assert "m7" not in reader.read()


def test_envoy_is_told_of_no_pod_for_a_stateful_model_though_it_is_ready(tmp_path):
    written = Board(tmp_path)
    written.update({"s": Entry(None, None, stateful=True, copies=on(IPS[0]))}, 0.0)
    assert Reader(tmp_path).read()["s"] == (0, 0, 0, True, [])


def test_a_name_that_would_break_a_line_is_left_to_the_activator(tmp_path):
    Board(tmp_path).update({"a\nX": Entry(), "b c": Entry()}, 0.0)
    assert set(Reader(tmp_path).read()) == {"b c"}


def test_an_activator_that_starts_again_leads_readers_of_the_last_board_to_its_own(tmp_path):
    first = Board(tmp_path)
    first.update({"m": Entry(copies=on(IPS[0]))}, 0.0)
    reader = Reader(tmp_path)
    reader.read()
    first.close()
    Board(tmp_path).update({"n": Entry(copies=on(IPS[1]))}, 0.0)
    assert reader.read() == {"n": (0, 0, 0, True, [IPS[1]])}


def test_a_number_goes_to_another_name_only_when_nothing_of_the_old_one_can_be_under_way():
    places = Places(1)
    assert places.take("a", 0.0) == 0
    assert places.take("b", 0.0) is None
    places.leave("a", 10.0)
    assert places.take("b", 10.0 + board.REUSE_SECONDS - 1) is None
    assert places.take("b", 10.0 + board.REUSE_SECONDS) == 0


COPIES = st.sets(st.sampled_from(IPS)).map(lambda ips: on(*ips))
ENTRIES = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=9),
    st.builds(
        Entry,
        st.none() | st.floats(0.001, 10),
        st.none(),
        st.booleans(),
        st.sets(st.sampled_from(IPS)).map(lambda s: on(*s)),
    ),
    max_size=8,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(ENTRIES, min_size=1, max_size=12), st.integers(300, 2000))
def test_who_reads_at_any_time_knows_what_was_written_last(versions, size_bytes):
    with tempfile.TemporaryDirectory() as folder:
        smallest, board.SMALLEST_BYTES = board.SMALLEST_BYTES, size_bytes
        try:
            written, reader, before = Board(Path(folder)), None, {}
            for number, entries in enumerate(versions):
                written.update(dict.fromkeys(before.keys() - entries.keys()) | entries, number * 400.0)
                written.keep({copy.ip for entry in entries.values() for copy in entry.copies}, number * 400.0)
                before = entries
                reader = reader or Reader(folder)
                found = reader.read()
                expected = {n: e for n, e in entries.items() if "\n" not in n and "\0" not in n}
                assert found.keys() == expected.keys()
                for name, entry in expected.items():
                    assert set(found[name][4]) == (set() if entry.stateful else {copy.ip for copy in entry.copies})
                assert len({slot for slot, *_ in found.values()}) == len(found)
        finally:
            board.SMALLEST_BYTES = smallest
