"""Settings that were renamed. On a command line the old names still work; in a file the error says the new one."""

import re

RENAMED = {
    "keep_answers": "cache.answers",
    "cache_answers": "cache.answers",
    "keep_answers_mb": "cache.max_gb",
    "answer_cache_mb": "cache.max_gb",
    "trainer.epochs": "trainer.max_epochs",
    "mentor.fit.epochs": "mentor.fit.max_epochs",
}


def with_new_name(argument: str) -> str:
    """`keep_answers=true` -> `cache.answers=true`, `~keep_answers_mb` -> `~cache.max_gb`, `answer_cache_mb=1000` ->
    `cache.max_gb=1`."""
    found = re.match(r"(\+*|~)([\w.]+)(=|$)", argument)
    if found is None or found[2] not in RENAMED:
        return argument
    value = argument[found.end() :]
    if found[2].endswith("_mb") and re.fullmatch(r"\d+(\.\d+)?", value):
        value = f"{float(value) / 1000:g}"
    return f"{found[1]}{RENAMED[found[2]]}{found[3]}{value}"
