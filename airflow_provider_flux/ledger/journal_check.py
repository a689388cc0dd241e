"""The check that no part of a journal is missing: its segments and its owner name each other.

- The segments of a session are numbered from 0, and each says whether another one follows.
- The header of a segment has the number of its entries, and the sessions that were there before.
- A session writes its first segment before it becomes the owner of the journal.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from airflow_provider_flux.ledger.clear_id import COMMAND_CLEAR_ID
from airflow_provider_flux.ledger.journal_entries import SegmentHeader, SessionSummary


@dataclass(frozen=True)
class MissingPart:
    """A part of a journal that is missing.

    :param name: the part, for a message.
    :param clear_id: the clear that its session belongs to.
    """

    name: str
    clear_id: str


@dataclass
class _Session:
    clear_id: str
    opened_at: str = ""
    is_closed: bool = False
    numbers: set[int] = field(default_factory=set)
    #: Segments that there must be, by the segments of this session and of later ones.
    expected: int = 1


class JournalCheck:
    """Collects the segments of a journal, and finds the parts that are missing."""

    def __init__(self) -> None:
        self._sessions: dict[str, _Session] = {}
        self._named: list[SessionSummary] = []
        self._missing_entries: list[MissingPart] = []

    def add(self, uri: str, number: int, header: SegmentHeader, entries: int) -> None:
        """Add a segment. Those of one session come in their order.

        :param uri: URI of the segment.
        :param number: its number in its name.
        :param header: its header.
        :param entries: number of entries that it has.
        """
        session = self._sessions.setdefault(
            header.session, _Session(header.clear_id, header.opened_at)
        )
        session.numbers.add(number)
        session.is_closed = header.is_closed
        session.expected = max(session.expected, number + 1 + header.has_next)
        self._named += header.earlier
        if header.entries is not None and entries < header.entries:
            name = f"{header.entries - entries} of {header.entries} entries of {uri}"
            self._missing_entries.append(MissingPart(name, header.clear_id))

    @property
    def sessions(self) -> tuple[SessionSummary, ...]:
        """The sessions of the journal, for the header of a later one."""
        return tuple(
            SessionSummary(session=name, clear_id=session.clear_id, segments=len(session.numbers))
            for name, session in self._sessions.items()
        )

    @property
    def clear_ids_of_tasks(self) -> tuple[str, ...]:
        """The clear ids of the sessions of tasks, the oldest session first."""
        sessions = sorted(self._sessions.values(), key=lambda session: session.opened_at)
        return tuple(
            session.clear_id for session in sessions if session.clear_id != COMMAND_CLEAR_ID
        )

    @property
    def has_open_session(self) -> bool:
        """Whether a session did not record its end."""
        return not all(session.is_closed for session in self._sessions.values())

    def missing_parts(self, owner: SessionSummary | None = None) -> list[MissingPart]:
        """Return the parts that are missing.

        :param owner: the session that owns the journal; ``None`` if it is not known.
        """
        return [*self._missing_segments([owner] if owner else []), *self._missing_entries]

    def _missing_segments(self, owners: list[SessionSummary]) -> Iterator[MissingPart]:
        expected = {name: session.expected for name, session in self._sessions.items()}
        clear_ids = {name: session.clear_id for name, session in self._sessions.items()}
        for summary in (*self._named, *owners):
            expected[summary.session] = max(expected.get(summary.session, 1), summary.segments)
            clear_ids.setdefault(summary.session, summary.clear_id)
        for name, count in expected.items():
            session = self._sessions.get(name)
            present = session.numbers if session else set()
            for number in sorted(set(range(count)) - present):
                yield MissingPart(f"segment {name}.{number:06d}.jsonl", clear_ids[name])
