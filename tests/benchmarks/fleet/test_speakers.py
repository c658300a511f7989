"""Who has which take, read back from generated takes that are all different."""

from itertools import pairwise
from pathlib import Path

import numpy as np
from mentee_device import Samples

from benchmarks.fleet.speakers import people_of
from benchmarks.personal.people.spoken_digits import log_mel


def test_no_take_is_in_two_places_and_the_servers_speakers_are_on_no_device(tmp_path: Path) -> None:
    takes, ends = 6 * 20, np.arange(6 * 20 + 1) * 400
    audio = np.random.default_rng(0).integers(-3000, 3000, takes * 400).astype(np.int16)
    speaker = np.arange(takes) % 6
    np.savez(
        tmp_path / "fsdd.npz",
        audio=audio,
        offset=ends,
        label=np.arange(takes) // 6 % 2,
        speaker=speaker,
        speaker_names=np.array(list("abcdef")),
    )
    whose = {log_mel(audio[a:b]).tobytes(): int(one) for (a, b), one in zip(pairwise(ends), speaker, strict=True)}

    def of(samples: Samples) -> dict[bytes, int]:
        found = {one.tobytes(): whose[one.tobytes()] for one in samples.input}
        assert len(found) == len(samples)
        return found

    people = people_of(tmp_path, seed=5)
    assert people.server.input.shape[1:] == (32, 1, 48)
    server, learn, test = of(people.server), [of(one) for one in people.learn], [of(one) for one in people.test]
    judging = {take for one in test for take in one}
    places = [server.keys(), judging, *(one.keys() for one in learn)]
    assert sum(map(len, places)) == takes == len(set().union(*places))
    assert set(server.values()) == {5, 0}
    assert [set(one.values()) for one in learn] == [set(one.values()) for one in test]
    assert [len({value for one in learn[i : i + 5] for value in one.values()}) for i in range(0, 20, 5)] == [1] * 4
    assert of(people.everybody).keys() == judging
