"""The folder that all tasks of one BFL account share, below the connection's ``account_path``."""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from airflow_provider_flux.bfl.settings import FluxSettings
from airflow_provider_flux.object_store.backends import WriteOptions
from airflow_provider_flux.object_store.conditional import check_conditional
from airflow_provider_flux.object_store.filesystem import check_writable, open_path, run_sync

#: Folder below ``account_path``, which has a folder for each account.
FOLDER_NAME = "_flux_account"
#: All regions of BFL serve one account with one balance.
_BFL_DOMAIN = "bfl.ai"
_PURPOSE = b"airflow-provider-flux account folder\n"
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=-]{0,127}")


@dataclass(frozen=True)
class AccountFolder:
    """The folder of one account.

    :param root: its URI, without a slash at its end.
    """

    root: str

    @property
    def write_options(self) -> WriteOptions:
        """The options of a write: JSON, kept by no cache, with the access rights of the bucket."""
        return WriteOptions(content_type="application/json", cache_control="private, no-store")

    def uri(self, *parts: str) -> str:
        """Return the URI of an object in the folder.

        :param parts: names of folders and of the object: letters, digits and ``.``, ``_``, ``=``,
            ``-``, at most 128 characters each.
        :raises ValueError: if a name has other characters, and could leave the folder.
        """
        for part in parts:
            if not _PART.fullmatch(part):
                raise ValueError(f"{part!r} is not a name of an object in the account's folder")
        return "/".join((self.root, *parts))


def account_folder(settings: FluxSettings) -> AccountFolder | None:
    """Open the folder of an account, and check that its store can compare and swap.

    Do not call this on an event loop: it reads the connection of the store.

    :param settings: the settings of the account.
    :return: ``None`` if the connection has no ``account_path``.
    :raises FluxConfigurationError: if the store cannot be used, or cannot compare and swap.
    :raises FluxStorageError: if the store does not answer.
    """
    folder = find_account_folder(settings)
    if folder is None or settings.account_path is None:
        return None
    check_writable(settings.account_path, field="account_path")
    run_sync(check_conditional(folder.uri("state.json")))
    return folder


def find_account_folder(settings: FluxSettings) -> AccountFolder | None:
    """Open the folder of an account to read it. It writes nothing.

    :param settings: the settings of the account.
    :return: ``None`` if the connection has no ``account_path``.
    :raises FluxConfigurationError: if the store cannot be used.
    """
    if settings.account_path is None:
        return None
    open_path(settings.account_path, field="account_path")
    digest = digest_account(settings.base_url, settings.api_key)
    return AccountFolder(f"{settings.account_path}/{FOLDER_NAME}/{digest}")


def digest_account(base_url: str, api_key: str) -> str:
    """Return the name of an account's folder, which does not reveal its key.

    It is an HMAC with the key itself: whoever has it can only try keys, and a key of BFL has far
    too many possible values for that.

    :param base_url: scheme and host of the API. All hosts of BFL count as one, because they share
        the balance of the account.
    :param api_key: key of the account. A new key of the same account has another folder.
    :return: 32 hexadecimal digits.
    """
    parts = urlsplit(base_url)
    host = parts.netloc.lower()
    if f".{parts.hostname or ''}".endswith(f".{_BFL_DOMAIN}"):
        host = _BFL_DOMAIN
    return hmac.new(api_key.encode(), _PURPOSE + host.encode(), hashlib.sha256).hexdigest()[:32]
