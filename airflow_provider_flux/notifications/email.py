"""A message by e-mail, by the hook of Airflow's SMTP provider."""

from __future__ import annotations

import html
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from airflow_provider_flux.notifications.message import Message
from airflow_provider_flux.notifications.pictures import Picture


def send_message(
    conn_id: str,
    to: str | Iterable[str] | None,
    sender: str | None,
    message: Message,
    pictures: Sequence[Picture],
) -> None:
    """Send an e-mail with the pictures as attachments.

    :param conn_id: connection to the mail server.
    :param to: address or addresses.
    :param sender: address of the sender; ``None`` for that of the connection.
    :param message: the message.
    :param pictures: its pictures.
    :raises Exception: as the hook does, if the e-mail cannot be sent.
    """
    from airflow.providers.smtp.hooks.smtp import SmtpHook  # an extra

    temporary = tempfile.TemporaryDirectory(prefix="flux-mail-", ignore_cleanup_errors=True)
    with temporary as folder, SmtpHook(smtp_conn_id=conn_id) as hook:
        files = []
        for picture in pictures:
            path = Path(folder) / picture.name
            path.write_bytes(picture.content)
            files.append(str(path))
        hook.send_email_smtp(
            to=to or (),
            from_email=sender,
            subject=" ".join(message.title.split()),
            html_content=format_html(message),
            files=files,
        )


def format_html(message: Message) -> str:
    """Return a message as HTML in which every value is text.

    :param message: the message.
    """
    rows = "".join(
        f"<tr><th align='left'>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>"
        for name, value in message.facts
    )
    return f"<h3>{html.escape(message.title)}</h3><table>{rows}</table>"
