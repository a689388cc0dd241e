"""FluxCreditsSensor: wait until an account has enough credits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSkipException,
    BaseSensorOperator,
    PokeReturnValue,
    conf,
)

from airflow_provider_flux.bfl.errors import FluxRequestError, FluxTransientError
from airflow_provider_flux.compat import is_from_mapped
from airflow_provider_flux.hooks.flux import FluxHook
from airflow_provider_flux.operators.arguments import is_resolved_later
from airflow_provider_flux.operators.failures import fail_without_retry
from airflow_provider_flux.operators.templates import TextTemplatesOperator
from airflow_provider_flux.policies.task_policy import add_retry_policy

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context


class FluxCreditsSensor(TextTemplatesOperator, BaseSensorOperator):
    """Wait until the account of a connection has enough credits.

    The sensor reads ``/v1/credits``, which BFL does not bill. It returns the balance. A temporary
    failure of BFL or of the network counts as a read that found too few credits. If BFL refuses the
    key, the sensor fails at once.

    ``poke_interval``, ``timeout``, ``mode``, ``soft_fail`` and ``never_fail`` are those of
    Airflow's ``BaseSensorOperator``. A deferred sensor reads every ``poke_interval``, without
    ``exponential_backoff``, and its ``timeout`` begins with the deferral.

    :param minimum: credits to wait for (1 credit = 0.01 USD), more than 0. (templated)
    :param flux_conn_id: id of the connection to BFL. Default ``flux_default``. (templated)
    :param deferrable: whether the task waits on the triggerer, without a worker slot. Default:
        ``[operators] default_deferrable``.
    :raises FluxRequestError: when the DAG is parsed, if ``minimum`` is a number that is no amount
        of credits.
    """

    template_fields: Sequence[str] = ("minimum", "flux_conn_id")
    text_fields: ClassVar[frozenset[str]] = frozenset({"flux_conn_id"})
    ui_color = "#e8e3f4"

    def __init__(
        self,
        *,
        minimum: float | str,
        flux_conn_id: str = "flux_default",
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        add_retry_policy(self)
        self.minimum = minimum
        self.flux_conn_id = flux_conn_id
        self.deferrable = deferrable
        if not is_from_mapped(self) and not is_resolved_later(minimum):
            parse_minimum(minimum)

    @cached_property
    def hook(self) -> FluxHook:
        """The hook of the connection."""
        return FluxHook(self.flux_conn_id)

    @property
    def _policy_task(self) -> FluxCreditsSensor | None:
        """The task whose retry policy is asked. A task that is skipped instead has no retries."""
        return None if self.soft_fail or self.never_fail else self

    def poke(self, context: Context) -> PokeReturnValue:
        """Read the balance once.

        :param context: context of the task.
        :return: whether the balance is high enough, with the balance.
        :raises AirflowFailException: if waiting longer does not help.
        """
        with fail_without_retry(self._policy_task):
            minimum = parse_minimum(self.minimum)
            try:
                balance = self.hook.get_conn().get_credits(retry=False)
            except FluxTransientError as error:
                self.log.warning("The balance could not be read: %s", error)
                return PokeReturnValue(is_done=False)
        self.log.info("The account has %g credits of %g.", balance, minimum)
        return PokeReturnValue(is_done=balance >= minimum, xcom_value=balance)

    def execute(self, context: Context) -> float:
        """Wait for the credits, on the worker or on the triggerer.

        :param context: context of the task.
        :return: the balance in credits.
        :raises AirflowFailException: if waiting longer does not help.
        :raises AirflowSensorTimeout: if the balance is still too low after ``timeout``.
        :raises AirflowSkipException: instead of both with ``soft_fail``, and instead of the first
            with ``never_fail``.
        """
        if not self.deferrable:
            return super().execute(context)  # type: ignore[no-any-return]
        try:
            found = self.poke(context)
        except AirflowFailException as error:
            if self.soft_fail or self.never_fail:
                raise AirflowSkipException(str(error)) from error
            raise
        return float(found.xcom_value) if found and found.xcom_value else self._defer()

    def _defer(self) -> NoReturn:
        from airflow_provider_flux.triggers.credits import FluxCreditsTrigger

        self.defer(
            trigger=FluxCreditsTrigger(
                flux_conn_id=self.flux_conn_id,
                minimum=parse_minimum(self.minimum),
                poke_interval=self.poke_interval,
            ),
            method_name="execute_complete",
            timeout=timedelta(seconds=self.timeout),
        )

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> float:
        """Return the balance that the trigger found.

        :param context: context of the task.
        :param event: event of :class:`~airflow_provider_flux.triggers.credits.FluxCreditsTrigger`.
        :return: the balance in credits.
        :raises AirflowFailException: if the trigger met an error that waiting does not help.
        """
        from airflow_provider_flux.triggers.credits import read_credits_event

        with fail_without_retry(self._policy_task):
            balance = read_credits_event(event)
        self.log.info("The account has %g credits.", balance)
        return balance


def parse_minimum(value: Any) -> float:
    """Return a number of credits to wait for.

    :param value: a number, or its text.
    :raises FluxRequestError: if it is no number above 0 and below infinity.
    """
    try:
        number = 0.0 if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = 0.0
    if not 0 < number < float("inf"):
        raise FluxRequestError(f"minimum={value!r} must be a number of credits, more than 0.")
    return number
