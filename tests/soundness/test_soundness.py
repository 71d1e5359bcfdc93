"""Cheats are refused or computed correctly, and documented uses of the package work."""

import cheats_arguments
import cheats_mode
import cheats_rows
import cheats_time
import honest_calls
import honest_methods
import honest_models
import pytest
from cases import CHEATS, HONEST

MODULES = cheats_arguments, cheats_mode, cheats_rows, cheats_time, honest_calls, honest_methods, honest_models


def test_every_case_is_in_its_table():
    assert len(CHEATS) == 30
    assert len(HONEST) == 50
    cheating = {case.__module__ for case in CHEATS.values()}
    honest = {case.__module__ for case in HONEST.values()}
    assert cheating | honest == {module.__name__ for module in MODULES}
    assert all(name.startswith("cheats_") for name in cheating)
    assert all(name.startswith("honest_") for name in honest)


@pytest.mark.parametrize("name", CHEATS)
def test_no_cheat_is_certified(name):
    CHEATS[name]()


@pytest.mark.parametrize("name", HONEST)
def test_every_honest_use_is_served(name):
    HONEST[name]()
