"""The video models, one entry each."""

from __future__ import annotations

from types import MappingProxyType

from airflow_provider_flux.bfl.catalog.model import MIB, MediaField, MediaKind, Model
from airflow_provider_flux.bfl.pricing import PerInputSecond, PerSecond, PerUpscaledSecond

#: Videos that may be active at once, for a whole organization.
_MAX_ACTIVE = 5
_HOUR = 3600.0
_MOST_BYTES = 50 * MIB
_MOST_DRAFT_BYTES = 128 * MIB
_NEW = {"hd": 17.0, "fhd": 29.0, "qhd": 40.0, "uhd": 80.0}
_FROM_VIDEO = {"hd": 41.0, "fhd": 53.0, "qhd": 65.0, "uhd": 95.0}

VIDEO_MODELS = (
    Model(
        name="flux-3-video",
        schema_source="flux3.Flux3VideoInputs",
        mode_sources=MappingProxyType(
            {
                "t2v": "flux3.TextToVideoInputs",
                "i2v": "flux3.ImageToVideoInputs",
                "v2v": "flux3.VideoToVideoInputs",
                "draft_enhance": "flux3.DraftEnhanceInputs",
            }
        ),
        mode_aliases=MappingProxyType(
            {
                "text-to-video": "t2v",
                "image-to-video": "i2v",
                "image-continuation": "i2v",
                "video-to-video": "v2v",
                "video-continuation": "v2v",
                "draft-enhance": "draft_enhance",
            }
        ),
        price=PerSecond(
            rates={"t2v": _NEW, "i2v": _NEW, "v2v": _FROM_VIDEO},
            drafts={"t2v": 6.0, "i2v": 6.0, "v2v": 12.0},
            longest={"t2v": 20, "i2v": 20, "v2v": 15},
        ),
        media=(
            MediaField("keyframes"),
            MediaField("start_video", MediaKind.VIDEO, max_bytes=_MOST_BYTES, max_pixels=None),
            MediaField(
                "draft_cache", MediaKind.DRAFT, max_bytes=_MOST_DRAFT_BYTES, max_pixels=None
            ),
        ),
        output="video",
        cost_reported="when ready",
        max_active=_MAX_ACTIVE,
        url_lifetime=2 * _HOUR,
        typical_seconds=180.0,
        is_402_ambiguous=True,
    ),
    Model(
        name="flux-tools/video-upscale-v1",
        schema_source="flux3.Flux3VideoUpscaleInputs",
        price=PerUpscaledSecond(precise=7.5, creative=10.5, longest=20),
        media=(
            MediaField(
                "input_video", MediaKind.VIDEO, max_bytes=_MOST_BYTES, max_pixels=2560 * 1440
            ),
        ),
        prompt_required=False,
        output="video",
        cost_reported="when ready",
        max_active=_MAX_ACTIVE,
        url_lifetime=_HOUR,
        typical_seconds=180.0,
        is_402_ambiguous=True,
    ),
    Model(
        name="flux-tools/video-edit-v1",
        schema_source="flux3.Flux3VideoVE2VNamedInputs",
        price=PerInputSecond("video", 3.0, longest=15),
        media=(
            MediaField(
                "video",
                MediaKind.VIDEO,
                max_bytes=_MOST_BYTES,
                max_pixels=None,
                min_side=160,
                max_seconds=15.0,
            ),
        ),
        output="video",
        cost_reported="when ready",
        max_active=_MAX_ACTIVE,
        url_lifetime=_HOUR,
        typical_seconds=120.0,
        is_402_ambiguous=True,
    ),
)
