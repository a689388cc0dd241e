"""The debug log of urllib3, without the signatures of URLs."""

from __future__ import annotations

import logging
import re

_QUERY = re.compile(r"\?[^\s'\"]+")


class _HideSignatures(logging.Filter):
    """Hide signed queries in the debug log of urllib3, which holds the path of each request."""

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if "?" in text and "/v1/get_result?" not in text:
            record.msg, record.args = _QUERY.sub("?<query removed>", text), ()
        return True


_FILTER = _HideSignatures()


def hide_signatures() -> None:
    """Hide signed queries in the debug log of urllib3, from now on in this process.

    Each module that sends requests by urllib3 calls this when it is imported, so that no request
    comes before the filter.
    """
    logging.getLogger("urllib3.connectionpool").addFilter(_FILTER)  # does nothing the second time
