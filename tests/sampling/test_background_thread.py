"""The background thread: order of results, errors, and no thread left behind."""

import threading
from functools import partial

import pytest
import torch

from captum_certified.sampling.background_thread import BackgroundThread


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_results_come_in_order_with_their_items(device):
    with BackgroundThread(torch.device(device)) as thread:
        assert list(thread.prepare_ahead(lambda item: item * item, range(5))) == [(i, i * i) for i in range(5)]
        assert list(thread.prepare_ahead(str, [])) == []


def test_the_next_result_is_made_while_the_last_one_is_used():
    begun = [threading.Event() for _ in range(3)]
    with BackgroundThread(torch.device("cpu")) as thread:
        results = thread.prepare_ahead(lambda item: begun[item].set(), range(3))
        next(results)
        assert begun[1].wait(timeout=10)
        assert not begun[2].is_set()


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_errors_come_with_the_result(device):
    def fails():
        raise ArithmeticError("on purpose")

    with BackgroundThread(torch.device(device)) as thread, pytest.raises(ArithmeticError, match="on purpose"):
        thread.start(fails).result()


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_shared_jobs_give_their_results_in_order(device):
    with BackgroundThread(torch.device(device)) as thread:
        assert thread.run_jobs([partial(pow, i, 2) for i in range(20)]) == [i * i for i in range(20)]
        assert thread.run_jobs([]) == []


def test_jobs_are_shared_by_two_threads():
    both = threading.Barrier(2, timeout=10)  # passed only by two jobs at once
    with BackgroundThread(torch.device("cpu")) as thread:
        thread.run_jobs([both.wait, both.wait])


def test_jobs_shared_while_the_thread_is_busy_are_run_by_the_caller():
    go = threading.Event()
    with BackgroundThread(torch.device("cpu")) as thread:
        busy = thread.start(partial(go.wait, timeout=10))
        assert thread.run_jobs([threading.current_thread] * 3) == [threading.current_thread()] * 3
        go.set()
        assert busy.result()


def test_work_in_the_thread_can_run_jobs_itself():
    with BackgroundThread(torch.device("cpu")) as thread:
        assert thread.start(lambda: thread.run_jobs([lambda: 1, lambda: 2])).result(timeout=10) == [1, 2]


@pytest.mark.parametrize("jobs", [2, 3, 50])
def test_an_error_in_a_shared_job_reaches_the_caller(jobs):
    with BackgroundThread(torch.device("cpu")) as thread, pytest.raises(ZeroDivisionError):
        thread.run_jobs([lambda: 1] * (jobs - 1) + [lambda: 1 // 0])


def test_the_thread_ends_with_the_block_also_after_an_error():
    before = threading.active_count()
    thread = BackgroundThread(torch.device("cpu"))
    with pytest.raises(ZeroDivisionError), thread:
        thread.start(lambda: 1 // 0).result()
    assert threading.active_count() == before


def test_accelerators_have_no_thread():
    with BackgroundThread(torch.device("meta")) as thread:
        assert thread.start(threading.current_thread).result() is threading.current_thread()
