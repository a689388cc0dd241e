"""The folder of an account."""

from __future__ import annotations

import pytest

from airflow_provider_flux.account.folder import AccountFolder, account_folder, digest_account
from airflow_provider_flux.bfl.errors import FluxConfigurationError
from airflow_provider_flux.bfl.settings import FluxSettings, read_settings
from airflow_provider_flux.object_store.filesystem import run_sync
from airflow_provider_flux.object_store.objects import put
from tests.support.conditional_stores import ConditionalStore

KEY = "bfl_canary_key_0123456789"
LIVE = "https://api.bfl.ai"


def settings(path: object, key: str = KEY) -> FluxSettings:
    return read_settings(
        api_key=key, base_url=None, extra={"account_path": path}, source="connection 'flux_default'"
    )


class TestAccountFolder:
    def test_the_folder_of_an_account_can_be_written_and_does_not_reveal_the_key(
        self, swapping: ConditionalStore
    ) -> None:
        folder = account_folder(settings(f"{swapping.root}/shared/"))
        assert folder is not None
        assert folder.root == f"{swapping.root}/shared/_flux_account/{digest_account(LIVE, KEY)}"
        assert KEY not in folder.root
        run_sync(put(folder.uri("budgets", "day=2026-11-30.json"), b"{}", folder.write_options))
        assert [name for name in swapping.store.all_names() if name.endswith("30.json")] == [
            f"shared/_flux_account/{digest_account(LIVE, KEY)}/budgets/day=2026-11-30.json"
        ]

    def test_a_connection_without_account_path_has_no_folder(self) -> None:
        assert account_folder(settings(None)) is None

    def test_a_store_that_does_not_exist_or_cannot_swap_is_refused(self) -> None:
        with pytest.raises(FluxConfigurationError, match="account_path='s3://no_such_conn@b/x'"):
            account_folder(settings("s3://no_such_conn@b/x"))
        with pytest.raises(
            FluxConfigurationError, match="account_path='memory://shared/flux' cannot be used"
        ):
            account_folder(settings("memory://shared/flux"))

    @pytest.mark.parametrize("part", ["..", ".hidden", "a/b", "", "a b", "x" * 200, "ä", "a\n"])
    def test_a_name_cannot_leave_the_folder(self, part: str) -> None:
        with pytest.raises(ValueError, match="is not a name of an object"):
            AccountFolder("/shared").uri("budgets", part)


class TestDigestAccount:
    def test_accounts_have_folders_of_their_own_and_all_hosts_of_bfl_share_one(self) -> None:
        other_key = digest_account(LIVE, "bfl_another")
        other_host = digest_account("https://gateway.example.com", KEY)
        other_port = digest_account("https://gateway.example.com:8443", KEY)
        not_bfl = digest_account("https://api.bfl.ai.example.com", KEY)
        own = digest_account(LIVE, KEY)
        assert len({own, other_key, other_host, other_port, not_bfl}) == 5
        assert own == digest_account("https://api.eu.bfl.ai", KEY)
        assert own == digest_account("https://API.BFL.AI", KEY)
