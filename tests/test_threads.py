"""Work side by side: results in order, and nothing waited for once something failed."""

import time
from collections.abc import Callable

import pytest

from rational_icl._threads import in_threads

MANY = 200


def test_results_are_in_the_order_of_the_items():
    def late(item: float, proceed: Callable[[], None]) -> float:
        time.sleep(item)
        proceed()
        return -item

    assert in_threads(late, [0.03, 0.0, 0.01]) == [-0.03, 0.0, -0.01]


@pytest.mark.parametrize("failing", [0, 1])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_ends_the_others_between_two_pieces_of_work(
    error: type[BaseException], failing: int
):
    pieces = []

    def work(item: int, proceed: Callable[[], None]) -> None:
        if item == failing:
            time.sleep(0.1)
            raise error("of an item")
        for _ in range(1000):
            proceed()
            pieces.append(item)
            time.sleep(0.01)

    with pytest.raises(error, match="of an item"):
        in_threads(work, range(MANY))
    # one item at most was in its midst on every other core, and no further one was begun
    assert len(set(pieces)) < MANY / 2
    assert len(pieces) < 1000
