"""A served gallery's votes: those of blind comparisons, in `votes.jsonl` beside the pictures, and what they say."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, Final

from ..compare.collection import Collection
from ..compare.ranking import rank
from ..compare.votes import add_votes, read_votes, vote_of, votes_file

#: A file is read and written by one at a time.
_WRITING: Final = threading.Lock()


class KeptVotes:
    """The votes on a collection."""

    def __init__(self, found: Collection) -> None:
        self._run, self._file = found.name, votes_file(found.root)

    def all(self) -> dict[str, Any]:
        """The votes, and the ranking that follows from them. CompareError where the file is none of this run."""
        votes = read_votes(self._file, self._run)
        return {"votes": [vote.to_dict() for vote in votes], "ranking": rank(votes).to_dict()}

    def keep(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        """Keep one vote. CompareError where it is none of this run."""
        vote = vote_of(entry, "the vote")
        with _WRITING:
            add_votes(self._file, [vote], self._run)
        return {"kept": True}
