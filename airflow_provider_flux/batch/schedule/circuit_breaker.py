"""When the service cannot be reached, or answers nothing of use: decisions only."""

from __future__ import annotations

from airflow_provider_flux.bfl.errors import FluxError, FluxSubmitUncertainError

_BACKOFF = 0.5
_LONGEST_BACKOFF = 30.0
#: Seconds after which a service that nothing was sent to is given up.
_PATIENCE = 300.0
#: Submits in a row whose answer was lost, each possibly billed: one may be chance, a few are an outage, more are waste.
_AN_OUTAGE = 3
_WASTE = 8


class CircuitBreaker:
    """Hold submits back while they lead to nothing, so that a batch does not burn its rows; one at a time tries on."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._failures = 0
        self._lost_answers = 0
        self._not_before = 0.0

    @property
    def is_on(self) -> bool:
        """Whether submits are held back."""
        return self._since is not None

    def pause(self, now: float) -> float:
        """Return the seconds until one submit may be tried."""
        return max(self._not_before - now, 0.0) if self.is_on else 0.0

    def answered(self) -> None:
        """Note an answer that says clearly what became of a submit."""
        self._since, self._failures, self._lost_answers = None, 0, 0

    def failed(self, error: FluxError, now: float) -> bool:
        """Note a submit without such an answer, and return whether there is no use in going on."""
        if isinstance(error, FluxSubmitUncertainError):
            self._lost_answers += 1
            if self._lost_answers < _AN_OUTAGE:
                return False
        self._since = now if self._since is None else self._since
        self._not_before = now + min(_BACKOFF * 2.0 ** min(self._failures, 10), _LONGEST_BACKOFF)
        self._failures += 1
        return self._lost_answers >= _WASTE or now - self._since >= _PATIENCE
