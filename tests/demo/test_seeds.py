"""The demo's processes."""

import os

import pytest

from demo.seeds import workers
from mentor_mentee.errors import UserError


def test_a_process_that_was_killed_is_one_clear_line() -> None:
    with pytest.raises(UserError, match=r"was killed .*is cached: run the demo again"), workers(1) as pool:
        pool.submit(os._exit, 1).result()
