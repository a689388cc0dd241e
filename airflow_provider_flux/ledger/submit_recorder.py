"""The observer of a submit: it records each POST in the ledger of the task."""

from __future__ import annotations

from collections.abc import Callable

from airflow_provider_flux.bfl.errors import FluxError, FluxRateLimitedError
from airflow_provider_flux.bfl.request import GenerationRequest
from airflow_provider_flux.landing.plan import LandingPlan
from airflow_provider_flux.ledger.record_store import StoredRecord
from airflow_provider_flux.ledger.resume_policy import describe_uncertain
from airflow_provider_flux.ledger.task_ledger import TaskLedger
from airflow_provider_flux.observability.generation_events import record_rate_limited


class SubmitRecorder:
    """Records the intent before each POST, and each refusal after it.

    :param ledger: the ledger of the task; ``None`` if no store can keep records.
    :param latest: the last record of earlier tries; ``None`` if there is none.
    :param request: the request.
    :param plan: how the image is to land; ``None`` without ``output_path``.
    :param flux_conn_id: id of the connection to BFL.
    :param confirm: called before each POST; raises an error that forbids it. Does nothing by
        default.
    :ivar stored: the record of the submit; ``None`` before the first POST.
    :ivar is_posting: whether a POST was sent whose answer has not arrived.
    """

    def __init__(
        self,
        ledger: TaskLedger | None,
        latest: StoredRecord | None,
        request: GenerationRequest,
        plan: LandingPlan | None,
        flux_conn_id: str,
        confirm: Callable[[], object] = lambda: None,
    ) -> None:
        self._ledger = ledger
        self._latest = latest
        self._request = request
        self._plan = plan
        self._flux_conn_id = flux_conn_id
        self._confirm = confirm
        self._is_stopped = False
        self.stored: StoredRecord | None = None
        self.is_posting = False

    def stop(self) -> str | None:
        """Allow no further POST, because the task is killed.

        :return: a message about the POST whose answer has not arrived; ``None`` if there is none.
        """
        self._is_stopped = True
        if not self.is_posting:
            return None
        billed = "The request was possibly billed."
        if self.stored:
            billed = describe_uncertain(self.stored.record)
        return f"Killed during the submit. {billed}"

    def before_post(self) -> None:
        """Record the intent.

        :raises FluxLedgerError: if another process submits for the same task at this moment.
        :raises FluxStorageError: if the intent cannot be written.
        :raises FluxError: if the task was killed while it waited for a free slot, or what
            ``confirm`` raises.
        """
        if self._is_stopped:
            raise FluxError("The task was killed. Nothing was sent.")
        self._confirm()
        if self._ledger and self.stored:
            self._ledger.claim_again(self.stored)
        elif self._ledger:
            self.stored = self._ledger.claim(
                self._request, self._plan, flux_conn_id=self._flux_conn_id, latest=self._latest
            )
        self.is_posting = True

    def after_refusal(self, error: BaseException) -> None:
        """Record that BFL bills nothing.

        :param error: the reason.
        """
        self.is_posting = False
        if isinstance(error, FluxRateLimitedError):
            record_rate_limited(self._request.model)
        if self.stored is None:
            return
        if not isinstance(error, FluxError):
            error = FluxError(f"{type(error).__name__}: nothing was sent.")
        self.stored.write_or_warn("failed", error=error)
