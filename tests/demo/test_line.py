from contextlib import ExitStack

import pytest

from ccformer_hf.demo import line as module
from ccformer_hf.demo.line import Line, LineRefused, visitor_of


def served(line: Line, visitors: str) -> str:
    """In which order clips of these visitors are worked on, all of them waiting when the first one is done."""
    stacks = [ExitStack() for _ in visitors]
    waiting = {number: stack.enter_context(line.place(visitors[number])) for number, stack in enumerate(stacks)}
    order = ""
    while waiting:
        (number,) = [number for number, place in waiting.items() if line.before(place) == 0]
        order += waiting.pop(number).visitor
        assert all(line.before(place) for place in waiting.values())  # one at a time
        stacks[number].close()
    return order


@pytest.mark.parametrize(
    ("came", "order"), [("abc", "abc"), ("aaab", "abaa"), ("aaabbc", "abcaba"), ("abababc", "abcabab")]
)
def test_a_visitors_second_clip_comes_after_everybodys_first(came, order):
    assert served(Line(16, 4), came) == order


def test_who_comes_later_does_not_wait_for_all_that_another_has(monkeypatch):
    line = Line(16, 8)
    with ExitStack() as stack:
        many = [stack.enter_context(line.place("a")) for _ in range(5)]
        assert [line.before(place) for place in many] == [0, 1, 2, 3, 4]
        late = stack.enter_context(line.place("b"))
        assert line.before(late) == 1 and line.before(many[1]) == 2


def test_the_line_tells_how_many_are_before_until_it_is_ones_turn(monkeypatch):
    line, told = Line(16, 4), []
    first, second = line.place("a"), line.place("b")
    place = first.__enter__()
    assert list(place.wait()) == []
    with second as other:
        monkeypatch.setattr(module.time, "sleep", lambda _: first.__exit__(None, None, None))
        told = list(other.wait())
    assert told == [1]
    with line.place("c") as third:  # nobody is left
        assert list(third.wait()) == []


def test_who_goes_while_waiting_or_at_work_is_out_of_the_line():
    line = Line(16, 4)
    with line.place("a") as at_work:
        assert line.before(at_work) == 0
        with pytest.raises(ZeroDivisionError), line.place("b") as waiting:
            assert line.before(waiting) == 1
            raise ZeroDivisionError
        with line.place("c") as next_one:
            assert line.before(next_one) == 1
    with line.place("d") as last:
        assert line.before(last) == 0


def test_a_full_line_and_a_visitor_with_enough_are_refused():
    line = Line(3, 2)
    with ExitStack() as stack:
        line.before(stack.enter_context(line.place("a")))  # is worked on, and does not wait
        for visitor in "abc":
            stack.enter_context(line.place(visitor))
        with pytest.raises(LineRefused, match="^3 clips are waiting already; try again in a few minutes$"):
            stack.enter_context(line.place("d"))
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(line.place("a"))
        with pytest.raises(LineRefused, match="^You have 2 clips in line already; wait until one of them is done$"):
            stack.enter_context(line.place("a"))
        stack.enter_context(line.place("b"))


@pytest.mark.parametrize(
    ("address", "visitor"),
    [
        ("8.8.8.8", "8.8.8.8"),
        ("2001:4860:4860::8888", "2001:4860:4860::8888"),
        ("127.0.0.1", "page"),
        ("10.1.2.3", "page"),
        ("testclient", "page"),
        (None, "page"),
    ],
)
def test_a_visitor_is_an_address_of_the_internet_or_else_a_page(address, visitor):
    assert visitor_of(address, "page") == visitor


def test_who_comes_again_at_once_is_not_a_new_visitor():
    line, order, turn = Line(16, 4), "", {}

    def come(visitor: str) -> None:
        stack = ExitStack()
        turn[stack.enter_context(line.place(visitor))] = stack

    for visitor in "bbac":
        come(visitor)
    for _ in range(6):
        (place,) = [place for place in turn if line.before(place) == 0]
        order += place.visitor
        turn.pop(place).close()
        if place.visitor != "b":
            come(place.visitor)
    assert order == "bacbac"
