"""Limit groups: each narrow model has a limit of its own, and all videos share one."""

from __future__ import annotations

from airflow_provider_flux.account.limit_groups import limits_by_group


def test_model_limits_replace_those_of_the_catalog_and_all_videos_share_one() -> None:
    usual = limits_by_group({})
    assert usual["flux-kontext-max"] == 6
    assert usual["video"] == 5
    assert "flux-2-pro" not in usual
    requested = {"flux-kontext-max": 12, "flux-2-pro": 3}
    assert limits_by_group(requested) == {**usual, **requested}
    for model in ("flux-3-video", "flux-tools/video-upscale-v1", "flux-tools/video-edit-v1"):
        assert limits_by_group({model: 2}) == {**usual, "video": 2}
