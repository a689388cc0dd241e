"""A message to Slack, by the hook of Airflow's Slack provider."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from airflow_provider_flux.notifications.message import Message
from airflow_provider_flux.notifications.pictures import Picture

log = logging.getLogger(__name__)
#: Seconds of one request to Slack. A notification must not hold a worker for long.
_TIMEOUT_SECONDS = 30


def send_message(conn_id: str, channel: str, message: Message, pictures: Sequence[Picture]) -> None:
    """Post a message, with its pictures if the app may upload files.

    :param conn_id: connection to Slack.
    :param channel: id of the channel.
    :param message: the message.
    :param pictures: its pictures.
    :raises Exception: as the hook does, if the message cannot be posted.
    """
    from airflow.providers.slack.hooks.slack import SlackHook  # an extra

    hook, text = SlackHook(slack_conn_id=conn_id, timeout=_TIMEOUT_SECONDS), format_text(message)
    if pictures:
        uploads = [
            {"content": it.content, "filename": it.name, "title": it.name} for it in pictures
        ]
        try:
            hook.client.files_upload_v2(channel=channel, file_uploads=uploads, initial_comment=text)
        except Exception as error:  # for example without the scope files:write
            log.warning("The pictures could not be sent to Slack: %s", error)
        else:
            return
    hook.call("chat.postMessage", json={"channel": channel, "text": text, "unfurl_links": False})


def format_text(message: Message) -> str:
    """Return a message in Slack's markup. Values mention nobody and make no links.

    :param message: the message.
    """
    lines = [f"*{_escape(message.title)}*"]
    lines += [f"{name}: {_escape(value)}" for name, value in message.facts]
    return "\n".join(lines)


def _escape(text: str) -> str:
    """Escape the three characters by which Slack recognizes links and mentions."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
