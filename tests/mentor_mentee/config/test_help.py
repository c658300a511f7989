"""`--help` prints what a first run needs, and more where it is asked for."""

import pytest

from distill.command import ESSENTIAL
from distill.schema import DistillConfig
from mentor_mentee.config.command_line import composed, open_nodes
from mentor_mentee.config.help import Help, help_of, help_words, wanted
from mentor_mentee.errors import UserError


@pytest.fixture(scope="module")
def every() -> Help:
    whole = composed("distill", DistillConfig, [], return_hydra_config=True)
    return help_of(whole, DistillConfig, open_nodes(DistillConfig), {"data": {"labels_per_class": (None, "")}})


def names(found: Help, *sections: str, words: tuple[str, ...] = ()) -> list[str]:
    return [row.name for row in wanted(found.rows, sections, ESSENTIAL, words)]


def test_what_is_essential_exists_and_is_a_screen(every: Help) -> None:
    known = {row.name for row in every.rows} | {"data.keep_unlabelled"}  # an option that the command adds
    assert set(ESSENTIAL) <= known
    assert set(names(every)) == set(ESSENTIAL) - {"data.keep_unlabelled"}
    assert len(ESSENTIAL) <= 32 < len(every.rows)


def test_a_section_and_what_the_words_speak_of_are_shown_whole(every: Help) -> None:
    assert names(every, "all") == [row.name for row in every.rows]
    assert names(every, "cache") == ["cache.answers", "cache.max_gb", "cache.activations", "cache.verify"]
    augment = names(every, "trainer.augment", "seed")
    assert "trainer.augment.mix.mixup" in augment
    assert "seed" in augment
    assert "trainer.batch" not in augment
    spoken_of = names(every, words=("schedule=obedient", "mentee.view.size=8"))
    assert {row.name for row in every.rows if row.name.startswith("schedule.")} <= {*spoken_of}
    assert "mentee.view.size" in spoken_of
    assert "mentee.view.channels" not in spoken_of
    with pytest.raises(
        UserError, match=r"--help=trainr: no such settings; did you mean 'trainer'\? \(there are all, mentor,"
    ):
        names(every, "trainr")


def test_words_with_a_section_are_helps() -> None:
    assert help_words(["data=mnist", "--help=data", "-m"]) == (["data=mnist", "--help", "-m"], ["data"])
