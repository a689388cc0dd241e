"""Every error of the provider, as a type checker sees it."""

from __future__ import annotations

from airflow_provider_flux import exceptions

ERRORS: list[type[exceptions.FluxError]] = [
    exceptions.FluxAuthenticationError,
    exceptions.FluxBatchError,
    exceptions.FluxBudgetError,
    exceptions.FluxCheckError,
    exceptions.FluxConfigurationError,
    exceptions.FluxConnectionError,
    exceptions.FluxError,
    exceptions.FluxExistsError,
    exceptions.FluxGenerationError,
    exceptions.FluxImageError,
    exceptions.FluxInputError,
    exceptions.FluxInsufficientCreditsError,
    exceptions.FluxLedgerError,
    exceptions.FluxModeratedError,
    exceptions.FluxRateLimitedError,
    exceptions.FluxRejectedError,
    exceptions.FluxRequestError,
    exceptions.FluxResultExpiredError,
    exceptions.FluxServiceError,
    exceptions.FluxStorageError,
    exceptions.FluxSubmitUncertainError,
    exceptions.FluxTaskNotFoundError,
    exceptions.FluxTimeoutError,
    exceptions.FluxTransientError,
    exceptions.FluxTriggerEventError,
    exceptions.FluxUntrustedURLError,
]


def is_worth_a_retry(error: exceptions.FluxError) -> bool:
    """Whether a retry may help."""
    return not error.is_permanent
