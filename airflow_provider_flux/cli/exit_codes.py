"""Exit codes of the commands, and the code of each error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from airflow.providers.common.compat.sdk import AirflowException

from airflow_provider_flux.bfl.errors import (
    FluxAuthenticationError,
    FluxBatchError,
    FluxBudgetError,
    FluxConfigurationError,
    FluxError,
    FluxExistsError,
    FluxGenerationError,
    FluxInsufficientCreditsError,
    FluxModeratedError,
    FluxRequestError,
    FluxResultExpiredError,
    FluxSubmitUncertainError,
    FluxTaskNotFoundError,
)
from airflow_provider_flux.cli.console import tell

#: All is done.
OK = 0
#: The command did its work, and an image is missing or a check failed.
INCOMPLETE = 1
#: An option, a file, a row or a connection is wrong. Nothing was submitted.
USAGE = 2
#: Not allowed to pay: nobody confirmed, or ``--max-cost`` or the balance is too low.
NOT_PAID = 3
#: BFL, a store or the ledger did not work. Run the command again.
UNAVAILABLE = 4
#: Ctrl-C.
INTERRUPTED = 130

_CODES: tuple[tuple[type[FluxError], int], ...] = (
    (FluxBatchError, INCOMPLETE),
    (FluxModeratedError, INCOMPLETE),
    (FluxGenerationError, INCOMPLETE),
    (FluxResultExpiredError, INCOMPLETE),
    (FluxTaskNotFoundError, INCOMPLETE),
    (FluxSubmitUncertainError, INCOMPLETE),
    (FluxExistsError, INCOMPLETE),
    (FluxBudgetError, NOT_PAID),
    (FluxInsufficientCreditsError, NOT_PAID),
    (FluxRequestError, USAGE),
    (FluxConfigurationError, USAGE),
    (FluxAuthenticationError, USAGE),
)


def exit_code_of(error: BaseException) -> int:
    """Return the exit code for an error.

    :param error: an error of this package, or the exception of Airflow that an operator raises in
        its place.
    """
    if isinstance(error, FluxError):
        return next((code for kind, code in _CODES if isinstance(error, kind)), UNAVAILABLE)
    if isinstance(error.__cause__, FluxError):
        return exit_code_of(error.__cause__)
    return INCOMPLETE


@contextmanager
def exit_on_error(command: str) -> Iterator[None]:
    """End the process with the exit code and the message of an error.

    :param command: name of the command, for the message.
    :raises SystemExit: in place of an error of this package or of Airflow.
    """
    try:
        yield
    except (FluxError, AirflowException) as error:
        tell(f"{command}: {_describe(error)}")
        raise SystemExit(exit_code_of(error)) from None
    except KeyboardInterrupt:
        tell(f"{command}: interrupted.")
        raise SystemExit(INTERRUPTED) from None


def _describe(error: BaseException) -> str:
    cause = error if isinstance(error, FluxError) else error.__cause__
    return f"{cause.message} {cause.reference}" if isinstance(cause, FluxError) else str(error)
