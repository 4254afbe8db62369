"""What intake counts, and the line it logs."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class IntakeStats:
    """Counters since the start of the process.

    Attributes
    ----------
    read
        Records read from the CDC topics (a row each) and the transaction topic.
    changes, records, size
        Changes appended to the journal, in how many records and bytes.
    accepted, boundaries
        Records of which all is in the journal; beginnings and ends of transactions.
    refused, ignored
        Records by reason: to the dead letters, or of no meaning. Every record is one
        of these: ``read = accepted + boundaries + refused + ignored``.
    lost
        Records that Kafka had removed before intake read them.
    held, delivered
        Prices dated ahead: kept, and delivered when their session began.
    redriven
        Dead letters that were put back and accepted.
    asked
        Rows that changed their key, and that a connector sent only half of: asked for
        by a snapshot.
    parts, short
        Times that a part of a transaction went on without the rest; transactions that
        went on with fewer rows than their end counts.
    """

    read: int = 0
    changes: int = 0
    records: int = 0
    size: int = 0
    accepted: int = 0
    boundaries: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    ignored: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    held: int = 0
    delivered: int = 0
    redriven: int = 0
    asked: int = 0
    parts: int = 0
    short: int = 0

    def line(self) -> str:
        """One line for the log: what is not zero.

        Examples
        --------
        >>> stats = IntakeStats(read=3, changes=2, records=1, size=80)
        >>> stats.refused["null"] += 1
        >>> stats.line()
        'read 3, changes 2, records 1, size 80, refused null 1'
        """
        words = (
            "read accepted boundaries changes records size lost held delivered "
            "redriven asked parts short"
        )
        parts = [
            f"{name} {getattr(self, name)}"
            for name in words.split()
            if getattr(self, name)
        ]
        for name in ("refused", "ignored"):
            counts: Counter[str] = getattr(self, name)
            if counts:
                reasons = " ".join(f"{why} {n}" for why, n in sorted(counts.items()))
                parts.append(f"{name} {reasons}")
        return ", ".join(parts) or "nothing yet"
