"""The answer cache: what a mentor said of samples, filed by view, so that it is asked once.

packing   numbers of one array in one byte or two
table     one array of all samples of a split in one view: a file, each row with a checksum
answers   the tables of a mentor's logits and probes, filled as they are asked for
room      the folder's size: what is removed before it grows past its bound
"""

from typing import TYPE_CHECKING

from mentor_mentee.lazy import lazily

if TYPE_CHECKING:
    from mentor.cache.answers import AnswerCache as AnswerCache
    from mentor.cache.options import CacheOptions as CacheOptions

__getattr__, __dir__ = lazily(
    __name__,
    {
        "AnswerCache": "mentor.cache.answers",
        "CacheOptions": "mentor.cache.options",
    },
)
