"""The texts of denials: one for each code, no other, and each limit of the file has a code that serves it."""

from agents.risk.limits.file import OrderLimits
from messages import DenialCode
from messages.denials import DENIAL_TEXTS


def test_every_code_has_its_text_and_no_two_say_the_same() -> None:
    assert list(DENIAL_TEXTS) == list(DenialCode)
    sentences = [text.says for text in DENIAL_TEXTS.values()]
    assert len(set(sentences)) == len(sentences)
    for text in DENIAL_TEXTS.values():
        for line in (text.says, text.to_do):
            assert line
            assert "\n" not in line
            assert "|" not in line
            assert not line.endswith(".")


def test_every_number_of_the_limits_file_is_served_by_one_code() -> None:
    served = [name for text in DENIAL_TEXTS.values() for name in text.limits]
    assert sorted(served) == sorted(OrderLimits.__struct_fields__)


def test_a_text_that_names_a_limit_serves_it() -> None:
    for text in DENIAL_TEXTS.values():
        named = {name for name in OrderLimits.__struct_fields__ if f"`{name}`" in text.says}
        assert named <= set(text.limits)
