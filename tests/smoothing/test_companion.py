"""The thread beside the model's: order, errors, and no thread left behind."""

import threading

import pytest
import torch

from captum_certified.smoothing.companion import Companion


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_results_come_in_order_each_with_its_item(device):
    with Companion(torch.device(device)) as companion:
        assert list(companion.one_ahead(lambda item: item * item, range(5))) == [(i, i * i) for i in range(5)]
        assert list(companion.one_ahead(str, [])) == []


def test_the_next_is_in_the_making_while_the_last_is_used():
    begun = [threading.Event() for _ in range(3)]
    with Companion(torch.device("cpu")) as companion:
        results = companion.one_ahead(lambda item: begun[item].set(), range(3))
        next(results)
        assert begun[1].wait(timeout=10)
        assert not begun[2].is_set()


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_errors_come_with_the_result(device):
    def fails():
        raise ArithmeticError("on purpose")

    with Companion(torch.device(device)) as companion, pytest.raises(ArithmeticError, match="on purpose"):
        companion.start(fails).result()


def test_the_thread_ends_with_the_block_also_after_an_error():
    before = threading.active_count()
    companion = Companion(torch.device("cpu"))
    with pytest.raises(ZeroDivisionError), companion:
        companion.start(lambda: 1 // 0).result()
    assert threading.active_count() == before


def test_accelerators_have_no_thread():
    with Companion(torch.device("meta")) as companion:
        assert companion.start(threading.current_thread).result() is threading.current_thread()
