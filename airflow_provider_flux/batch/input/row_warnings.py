"""The warnings about the rows of a batch, each logged once."""

from __future__ import annotations

import logging

from airflow_provider_flux.batch.input.rows import Row

log = logging.getLogger(__name__)

#: Different warnings that are logged. Further ones are counted.
_MAX_TEXTS = 20


class RowWarnings:
    """Counts the warnings about the requests of rows, before anything is submitted."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._first_keys: dict[str, str] = {}
        self._others = 0

    def add(self, row: Row) -> None:
        """Count the warnings of a row.

        :param row: a row of the input. One that is not valid has none.
        """
        requests = [request for request in (row.request, row.fallback) if request is not None]
        if not any(request.warnings for request in requests):
            return  # as for nearly all rows
        texts = {f"{request.model}: {text}" for request in requests for text in request.warnings}
        for text in sorted(texts):
            if text not in self._counts and len(self._counts) == _MAX_TEXTS:
                self._others += 1
                continue
            self._counts[text] = self._counts.get(text, 0) + 1
            self._first_keys.setdefault(text, row.key)

    def log(self) -> None:
        """Log each warning with the number of its rows."""
        for text, count in self._counts.items():
            rows = "1 row" if count == 1 else f"{count} rows"
            log.warning("%s (%s, first key %r)", text, rows, self._first_keys[text])
        if self._others:
            log.warning("The rows have %d further warnings", self._others)
