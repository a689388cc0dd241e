"""Output of the commands: rows on stdout in Airflow's formats, everything else on stderr.

Texts of files, buckets and the service may hold escape sequences, which a terminal would obey. So
every text is escaped, and redacted if it is a message.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from airflow_provider_flux.bfl.redaction import escape_control, redact

_PACKAGE = "airflow_provider_flux"
#: Airflow warns of an operator that no task runs, which is the purpose of a command.
_NOT_IN_A_TASK = "outside of the Task Runner"


def tell(text: str) -> None:
    """Print a message to stderr.

    :param text: the message. Line feeds stay.
    """
    print(redact(text), file=sys.stderr, flush=True)  # noqa: T201


def print_rows(rows: Sequence[Mapping[str, Any]], output: str) -> None:
    """Print rows to stdout.

    :param rows: dicts with the same keys.
    :param output: ``table``, ``json``, ``yaml`` or ``plain``.
    """
    from airflow.cli.simple_table import AirflowConsole
    from rich.markup import escape

    plain = [{name: _clean(value) for name, value in row.items()} for row in rows]
    if output == "table":  # rich would read square brackets as markup
        plain = [{name: escape(_as_text(value)) for name, value in row.items()} for row in plain]
    if output == "plain":
        plain = [{name: _as_text(value) for name, value in row.items()} for row in plain]
    console: Any = AirflowConsole()
    if output == "json":  # print_as would write numbers as texts
        console.print_as_json(plain)
    elif output == "yaml":
        console.print_as_yaml(plain)
    else:
        console.print_as(data=plain, output=output)


def one_line(text: object) -> str:
    """Return a text as one line without escape sequences.

    :param text: a text from outside.
    """
    return " ".join(escape_control(str(text)).split())


def _clean(value: Any) -> Any:
    """Return a value without escape sequences. Numbers stay: a JSON number is no text."""
    if isinstance(value, Mapping):
        return {one_line(name): _clean(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_clean(item) for item in value]
    return value if value is None or isinstance(value, (bool, int, float)) else one_line(value)


def _as_text(value: Any) -> str:
    return "" if value is None else str(value)


@contextmanager
def logs_on_stderr(*, is_verbose: bool = False) -> Iterator[None]:
    """Print warnings of this package to stderr, and nothing else that is logged.

    Airflow logs to stdout, where the rows of the command are.

    :param is_verbose: print all log lines of all packages from INFO on.
    """
    level = logging.INFO if is_verbose else logging.WARNING
    handler = _StderrHandler(level, is_verbose)
    loggers = [logging.getLogger(), logging.getLogger("airflow.task")]
    before = [(logger, logger.handlers, logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.handlers, logger.propagate = [], True
        logger.setLevel(level)
    loggers[0].handlers = [handler]
    try:
        with _structlog_to(handler):
            yield
    finally:
        for logger, handlers, old_level, propagate in before:
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(old_level)


class _StderrHandler(logging.Handler):
    def __init__(self, level: int, is_verbose: bool) -> None:
        super().__init__(level)
        self._is_verbose = is_verbose

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.show(record.name, record.levelno, record.getMessage())
        except Exception:
            self.handleError(record)

    def show(self, name: str, level: int, text: str) -> None:
        """Print a log line, if it is to be seen."""
        is_own = self._is_verbose or _PACKAGE in name
        if level >= self.level and is_own and _NOT_IN_A_TASK not in text:
            tell(f"{logging.getLevelName(level)}: {text}")


@contextmanager
def _structlog_to(handler: _StderrHandler) -> Iterator[None]:
    """Send the loggers of operators and hooks to a handler. They are no standard loggers."""
    import structlog

    def show(logger: Any, method: str, event: Any) -> Any:
        level = logging.getLevelNamesMapping().get(method.upper(), logging.INFO)
        text, values = str(event.get("event")), event.get("positional_args") or ()
        handler.show(str(getattr(logger, "name", "")), level, text % values if values else text)
        raise structlog.DropEvent

    processors = structlog.get_config()["processors"]
    structlog.configure(processors=[show])
    try:
        yield
    finally:
        structlog.configure(processors=processors)
