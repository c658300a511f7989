"""Settings that were renamed. On a command line the old names still work; in a file the error says the new one."""

import re

RENAMED = {
    "keep_answers": "cache_answers",
    "keep_answers_mb": "answer_cache_mb",
    "trainer.epochs": "trainer.max_epochs",
    "mentor.fit.epochs": "mentor.fit.max_epochs",
}


def with_new_name(argument: str) -> str:
    """`keep_answers=true` -> `cache_answers=true`, `~keep_answers_mb` -> `~answer_cache_mb`."""
    found = re.match(r"(\+*|~)([\w.]+)(=|$)", argument)
    if found is None or found[2] not in RENAMED:
        return argument
    return f"{found[1]}{RENAMED[found[2]]}{found[3]}{argument[found.end() :]}"
