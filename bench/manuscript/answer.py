"""What records know of one item of a checklist."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from bench.manuscript.document import Gap, Sentence
from bench.manuscript.facts import Comparison, Material

FROM_RECORDS, PARTLY, FOR_YOU = "from the records", "partly", "for you to write"


@dataclass(frozen=True)
class Answer:
    """What the records say about an item.

    Attributes:
        says: sentences without gaps; none if the records say nothing.
        remains: what is for the author to write.
        evidence: files that hold what is said.
    """

    says: tuple[Sentence, ...] = ()
    remains: tuple[str, ...] = ()
    evidence: tuple[Path, ...] = ()

    @property
    def state(self) -> str:
        """How far the records answer the item; it follows from what they say, and cannot be set."""
        if not self.says:
            return FOR_YOU
        return PARTLY if self.remains else FROM_RECORDS


AnswerOf = Callable[[Comparison, Material], Answer]


def answered(sentences: Iterable[Sentence], *remains: str, evidence: Iterable[Path] = ()) -> Answer:
    """The sentences, those with gaps as what remains; without a sentence there is no evidence either."""
    says, left = [], list(remains)
    for sentence in sentences:
        gaps = [part.text for part in sentence if isinstance(part, Gap)]
        left += gaps
        if not gaps:
            says.append(sentence)
    return Answer(tuple(says), tuple(dict.fromkeys(left)), tuple(evidence) if says else ())
