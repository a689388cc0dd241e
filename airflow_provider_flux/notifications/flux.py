"""FluxNotifier: tell people by Slack or e-mail what a task has landed, or why it failed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseNotifier

from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.notifications.message import Message, describe_review, describe_task

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context


class FluxNotifier(BaseNotifier):
    """Send a message about a task: its images with small pictures, a batch, or an error.

    Use it as ``on_success_callback`` or ``on_failure_callback`` of a task or a DAG, or among the
    ``notifiers`` of a review, whose message links to the review page. The pictures
    are the renditions ``thumb`` of the first four images. A message that cannot be sent is a
    warning in the log, and never fails the task.

    :param slack_channel: id of a Slack channel, for example ``C0123456789``. Needs the extra
        ``slack``. By default nothing is sent to Slack. (templated)
    :param email_to: address, or addresses, to send an e-mail to. Needs the extra ``smtp``. By
        default no e-mail is sent. (templated)
    :param email_from: address of the sender. Default: ``from_email`` of the connection. (templated)
    :param text: first line of the message. Default: the task and how it ended. (templated)
    :param with_pictures: whether to send the pictures too. Default ``True``.
    :param slack_conn_id: connection to Slack. Default ``slack_api_default``. (templated)
    :param smtp_conn_id: connection to the mail server. Default ``smtp_default``. (templated)
    :raises FluxRequestError: if there is neither a channel nor an address.
    """

    template_fields: Sequence[str] = (
        *("slack_channel", "email_to", "email_from", "text"),
        *("slack_conn_id", "smtp_conn_id"),
    )

    def __init__(
        self,
        *,
        slack_channel: str | None = None,
        email_to: str | Iterable[str] | None = None,
        email_from: str | None = None,
        text: str | None = None,
        with_pictures: bool = True,
        slack_conn_id: str = "slack_api_default",
        smtp_conn_id: str = "smtp_default",
    ) -> None:
        super().__init__()
        if not slack_channel and not email_to:
            raise FluxRequestError("FluxNotifier needs slack_channel or email_to.")
        self.slack_channel = slack_channel
        is_text = email_to is None or isinstance(email_to, str)
        self.email_to = email_to if is_text else list(email_to or ())
        self.email_from = email_from
        self.text = text
        self.with_pictures = with_pictures
        self.slack_conn_id = slack_conn_id
        self.smtp_conn_id = smtp_conn_id

    def notify(self, context: Context) -> None:
        """Send the messages. A failure is logged.

        :param context: context of the task or of the DAG run.
        """
        try:
            message = self._describe(context)
            pictures = self._read_pictures(message)
        except Exception:
            self.log.warning("The notification could not be made", exc_info=True)
            return
        if self.slack_channel:
            self._try("Slack", self._send_to_slack, message, pictures)
        if self.email_to:
            self._try("e-mail", self._send_by_email, message, pictures)

    async def async_notify(self, context: Context) -> None:
        """Send the messages from an event loop.

        :param context: context of the task or of the DAG run.
        """
        from asgiref.sync import sync_to_async

        await sync_to_async(self.notify)(context)

    def _describe(self, context: Any) -> Message:
        from airflow_provider_flux.links.gallery import gallery_url
        from airflow_provider_flux.links.review import review_url

        ti, run = context.get("ti"), context.get("dag_run")
        dag_id = getattr(ti or run, "dag_id", None) or str(context.get("dag", ""))
        run_id = getattr(ti or run, "run_id", None) or str(context.get("run_id", ""))
        is_run = ti is None or "reason" in context  # the callback of a DAG has a reason
        task_id = None if is_run else ti.task_id
        map_index = -1 if is_run else getattr(ti, "map_index", -1)
        error = context.get("exception")
        returned = None if is_run or error is not None else _read_xcom(ti, "return_value")
        if not is_run and error is None and returned is None and (waiting := _count_candidates(ti)):
            message = describe_review(
                dag_id=dag_id,
                run_id=run_id,
                task_id=ti.task_id,
                map_index=map_index,
                candidates=waiting,
                url=review_url(ti),
            )
            return self._with_text(message)
        message = describe_task(
            dag_id=dag_id,
            run_id=run_id,
            task_id=task_id,
            map_index=map_index,
            returned=returned,
            error=error,
            state=str(getattr(run if is_run else ti, "state", None) or "ended"),
            url=gallery_url(dag_id, run_id, task_id, map_index),
        )
        return self._with_text(message)

    def _with_text(self, message: Message) -> Message:
        if self.text:
            return Message(str(self.text), message.facts, message.pictures)
        return message

    def _read_pictures(self, message: Message) -> list[Any]:
        if not self.with_pictures or not message.pictures:
            return []
        from airflow_provider_flux.notifications.pictures import read_pictures

        return list(read_pictures(message.pictures))

    def _try(self, way: str, send: Any, message: Message, pictures: list[Any]) -> None:
        try:
            send(message, pictures)
        except Exception as error:  # the images have landed, or the task has failed already
            self.log.warning("The notification by %s failed: %s", way, error)

    def _send_to_slack(self, message: Message, pictures: list[Any]) -> None:
        from airflow_provider_flux.notifications.slack import send_message

        send_message(self.slack_conn_id, str(self.slack_channel), message, pictures)

    def _send_by_email(self, message: Message, pictures: list[Any]) -> None:
        from airflow_provider_flux.notifications.email import send_message

        send_message(self.smtp_conn_id, self.email_to, self.email_from, message, pictures)


def _read_xcom(ti: Any, key: str) -> Any:
    """Return an XCom of the task itself; ``None`` if there is none."""
    return ti.xcom_pull(task_ids=ti.task_id, key=key, map_indexes=getattr(ti, "map_index", -1))


def _count_candidates(ti: Any) -> int:
    """Return how many candidates wait for a reviewer; 0 if the task is no review that waits."""
    from airflow_provider_flux.review.page_state import REVIEW_XCOM

    state = _read_xcom(ti, REVIEW_XCOM)
    is_open = isinstance(state, Mapping) and state.get("phase") == "open"
    return len(state["candidates"]) if is_open else 0
