"""The image models, FLUX.1 to FLUX 3, one entry each."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from airflow_provider_flux.bfl.catalog.model import MediaField, MediaKind, Model
from airflow_provider_flux.bfl.pricing import MEGAPIXEL, ByValue, Flat, PerMegapixel

# FLUX.1 routes describe their images as base64 only; the newer ones fetch URLs.
_REDUX = MediaField("image_prompt", takes_url=False, min_side=256)
_OLD_IMAGE = MediaField("image", takes_url=False)
_OLD_MASK = MediaField("mask", MediaKind.MASK, takes_url=False, same_size_as="image")
_REFERENCES = tuple(
    MediaField(name) for name in ("input_image", *(f"input_image_{n}" for n in range(2, 9)))
)

_FLUX_1 = (
    Model(
        name="flux-pro-1.1",
        schema_source="flux1.FluxPro11Inputs",
        price=Flat(4),
        media=(_REDUX,),
        prompt_required=False,
        # The model's own page promises 1024x1024; the default of the API is 1024x768.
        sent_defaults=MappingProxyType(
            {
                "width": 1024,
                "height": 1024,
                "prompt_upsampling": False,
                "safety_tolerance": 2,
                "output_format": "jpeg",
            }
        ),
        typical_seconds=4.5,
    ),
    Model(
        name="flux-pro-1.1-ultra",
        schema_source="flux1.FluxUltraInput",
        price=Flat(6),
        media=(_REDUX,),
        prompt_required=False,
        typical_seconds=10.0,
    ),
    Model(
        name="flux-pro-1.1-ultra-finetuned",
        schema_source="flux1.FinetuneFluxUltraInput",
        price=Flat(7),
        media=(_REDUX,),
        prompt_required=False,
        typical_seconds=12.0,
    ),
    Model(
        name="flux-dev",
        schema_source="flux1.FluxDevInputs",
        price=Flat(2.5),
        media=(_REDUX,),
        prompt_required=False,
        typical_seconds=4.0,
    ),
    Model(
        name="flux-kontext-pro",
        schema_source="flux1.FluxKontextProInputs",
        price=Flat(4),
        media=_REFERENCES[:4],
        typical_seconds=8.0,
    ),
    Model(
        name="flux-kontext-max",
        schema_source="flux1.FluxKontextProInputs",
        price=Flat(8),
        media=_REFERENCES[:4],
        max_active=6,
        typical_seconds=12.0,
    ),
    Model(
        name="flux-pro-1.0-fill",
        schema_source="flux1.FluxProFillInputs",
        price=Flat(5),
        media=(_OLD_IMAGE, _OLD_MASK),
        prompt_required=False,
        typical_seconds=10.0,
    ),
    Model(
        name="flux-pro-1.0-fill-finetuned",
        schema_source="flux1.FinetuneFluxProFillInputs",
        price=Flat(6),
        media=(_OLD_IMAGE, _OLD_MASK),
        prompt_required=False,
        typical_seconds=12.0,
    ),
    Model(
        name="flux-pro-1.0-expand",
        schema_source="flux1.FluxProExpandInputs",
        price=Flat(5),
        media=(_OLD_IMAGE,),
        prompt_required=False,
        typical_seconds=10.0,
    ),
)

_FLUX_2_PRO = Model(
    name="flux-2-pro",
    schema_source="flux2.Flux2Inputs",
    price=PerMegapixel(first=3, further=1.5),
    media=_REFERENCES,
    cost_reported="at submit",
    typical_seconds=10.0,
)
_KLEIN = Model(
    name="flux-2-klein-4b",
    schema_source="flux2.Flux2KleinInputs",
    price=PerMegapixel(first=1.4, further=0.1),
    media=_REFERENCES[:4],
    cost_reported="at submit",
    typical_seconds=2.0,
)

_FLUX_2 = (
    replace(
        _FLUX_2_PRO, name="flux-2-max", price=PerMegapixel(first=7, further=3), typical_seconds=15.0
    ),
    _FLUX_2_PRO,
    replace(_FLUX_2_PRO, name="flux-2-pro-preview"),
    replace(
        _FLUX_2_PRO,
        name="flux-2-flex",
        schema_source="flux2.Flux2FlexInputs",
        price=PerMegapixel(first=5, further=5),
        typical_seconds=15.0,
    ),
    _KLEIN,
    replace(_KLEIN, name="flux-2-klein-9b", price=PerMegapixel(first=1.5, further=0.2)),
    replace(_KLEIN, name="flux-2-klein-9b-preview", price=PerMegapixel(first=1.5, further=0.2)),
)

_TRY_ON = Model(
    name="flux-tools/vto-v1",
    schema_source="flux2.Flux2KleinTryonInputs",
    price=Flat(4.75),
    media=(MediaField("person"), MediaField("garment")),
    cost_reported="at submit",
    typical_seconds=8.0,
)

_TOOLS = (
    Model(
        name="flux-tools/erase-v1",
        schema_source="flux2.Flux2EraseInputs",
        price=Flat(3),
        media=(MediaField("image"), MediaField("mask", MediaKind.MASK, same_size_as="image")),
        cost_reported="at submit",
        typical_seconds=8.0,
    ),
    Model(
        name="flux-tools/deblur-v1",
        schema_source="flux2.Flux2DeblurInputs",
        price=Flat(3),
        media=(MediaField("image"),),
        cost_reported="at submit",
        typical_seconds=8.0,
    ),
    Model(
        name="flux-tools/outpainting-v1",
        schema_source="flux2.FluxOutpaintingInputs",
        price=ByValue(
            "mode",
            {"fast": 4.5, "high": 20},
            "high",
            note="the price depends on the size of the canvas",
        ),
        media=(MediaField("input_image"),),
        prompt_required=False,
        cost_reported="at submit",
        typical_seconds=15.0,
    ),
    _TRY_ON,
    replace(_TRY_ON, name="flux-tools/vto-v2"),
)

_FLUX_3_IMAGE = Model(
    name="flux-3-image",
    schema_source="flux3.Flux3ImageInputs",
    price=ByValue("resolution", {"768sq": 4.1, "1k": 4.8, "1.5k": 7, "2k": 10, "4k": 60.7}, "1k"),
    media=(MediaField("images", max_pixels=16 * MEGAPIXEL, min_side=256),),
    cost_reported="when ready",
    image_format="png",
    url_lifetime=3600.0,
    typical_seconds=90.0,
)

_FLUX_3 = (
    _FLUX_3_IMAGE,
    replace(
        _FLUX_3_IMAGE,
        name="flux-3-image-klein",
        schema_source="flux3.Flux3ImageKleinInputs",
        price=ByValue(
            "resolution",
            {"1k": 0.9, "2k": 1.4, "4k": 3.6},
            "1k",
            bounds={"768sq": "1k", "1.5k": "2k"},
        ),
        typical_seconds=20.0,
    ),
)

IMAGE_MODELS = (*_FLUX_1, *_FLUX_2, *_TOOLS, *_FLUX_3)
