"""The checks find what they are for."""

from messages import Record
from tests.drills.checks import doubled, lost, places_by_id, unanswered
from tests.drills.load import Place


def _record(offset: int, value: bytes) -> Record:
    return Record(topic="market", partition=1, offset=offset, timestamp_ms=0, key=None, value=value)


READ = places_by_id([_record(0, b'{"seq": 7}'), _record(1, b'{"seq": 8}'), _record(2, b'{"seq": 7}')], "seq")


def test_an_acknowledged_record_that_lies_elsewhere_is_lost() -> None:
    assert lost({7: Place(1, 0), 8: Place(1, 2), 9: Place(0, 0)}, READ) == [8, 9]
    assert lost({7: Place(1, 2), 8: Place(1, 1)}, READ) == []


def test_an_id_at_two_places_is_doubled_unless_it_was_sent_again() -> None:
    assert doubled(READ) == [7]
    assert doubled(READ, sent_again=[7]) == []


def test_an_id_without_an_answer_is_found() -> None:
    assert unanswered(READ, {8: [Place(1, 0)]}) == [7]
