"""What docs/models.md says in prose: how to read it, and the rules that no table holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from airflow_provider_flux.bfl.catalog import Model

INTRO = """\
# Models

This page is written by `scripts/model_page` from the catalog of this version. It lists every model that
[`FluxGenerateOperator`](operators/generate.md) and `FluxHook.submit` know, and every parameter.
A model that is not here can be used as well: see [new-models.md](new-models.md).

- **Credits** are the price list of this version. One credit is 0.01 USD. A megapixel is 1024 x 1024 pixels, rounded up.
  What BFL charges is what counts. Where BFL reports the cost of a request, the XCom has that one.
- **Active tasks** is the limit of an account, by BFL's documentation, shared with the other models of the same limit.
- **Usual seconds** is an assumption of this version, no promise. The default `timeout`, and whether a task defers at
  once, rest on it.
- **URL lives** is how long BFL serves the result. With `output_path` it is landed long before.

| model | makes | credits | BFL reports the cost | active tasks | webhooks | usual seconds | URL lives |
|---|---|---|---|---|---|---|---|
"""

HOW_TO_READ = """\

## What holds for all of them

The examples go into a `with DAG(...)` block, after
`from airflow_provider_flux.operators.generate import FluxGenerateOperator`. Add `output_path` to land the result.
Their inputs are read from a bucket with the Airflow connection `my_s3`. All other places are in [inputs.md](inputs.md).

In the tables, a parameter in bold is an argument of the operator: `width=1024`. All others go into `parameters`.
*Default* is what BFL takes when nothing is sent. *URL, or sent as base64* means that an http(s) URL is passed on, for
BFL to fetch, and every other input is read by the worker. *Sent as base64* means that the worker reads them all.
Limits of an input are checked before the submit, where the worker has its bytes.

Refused by this provider before anything is paid, beside what the tables and the sections say:

- a parameter that the model does not have. Most routes of BFL would ignore it and bill the image. Those that refuse it
  themselves are marked *strict*;
- `webhook_secret` without `webhook_url`;
- an empty `prompt`, where nothing else is said.

*Warned*: the request is sent, and the task log has a warning, because BFL's own statements are silent or contradict.
"""


@dataclass(frozen=True)
class Rule:
    """What is refused or warned of beyond the tables, for the models it applies to."""

    applies: Callable[[Model], bool]
    text: str


def _fills(model: Model) -> bool:
    """Whether the model has an input without which it does nothing, so that the prompt may be missing."""
    return not model.prompt_required and any(
        model.schema.model_fields[one.name].is_required() for one in model.media
    )


def _is_numbered(model: Model) -> bool:
    return "input_image_2" in model.media_fields


REFUSED = (
    Rule(
        lambda m: "image_prompt" in m.media_fields,
        "An empty `prompt`, unless there is an `image_prompt`.",
    ),
    Rule(
        lambda m: any(one.same_size_as for one in m.media),
        "A `mask` whose size is not that of `image`, if the worker has the bytes of both.",
    ),
    Rule(
        lambda m: "auto_crop" in m.fields,
        "An `input_image` outside the canvas, unless `auto_crop` is `True`, if the worker has its bytes.",
    ),
    Rule(lambda m: bool(m.modes), "A parameter of another mode."),
    Rule(
        lambda m: "keyframes" in m.media_fields,
        "Three or more `keyframes` without times, when `duration` is `auto`.",
    ),
    Rule(
        lambda m: "keyframes" in m.media_fields,
        "Keyframes with and without times in one list.",
    ),
)
WARNED = (
    Rule(
        lambda m: m.name.startswith("flux-2-"),
        "A `width` or `height` that is no multiple of 16: BFL may round or refuse it.",
    ),
    Rule(
        lambda m: m.name.startswith("flux-2-"),
        "More than 4 megapixels of output, and more than 9 of inputs and output: BFL may reduce or refuse it.",
    ),
    Rule(
        lambda m: m.name.startswith("flux-kontext-"),
        "An `aspect_ratio` that is not between 21:9 and 9:21: BFL may refuse it.",
    ),
    Rule(
        lambda m: m.name.startswith("flux-kontext-"),
        "A `safety_tolerance` above 2 with an `input_image`: BFL may allow 2 at most.",
    ),
    Rule(
        _is_numbered,
        "A gap in `input_image`, `input_image_2` and so on: prompts count the images in order.",
    ),
    Rule(
        lambda m: m.name == "flux-tools/video-upscale-v1",
        "A video of more than 20 s: only the first 20 s are upscaled.",
    ),
)
NOTES = (
    Rule(_fills, "`prompt` may be missing."),
    Rule(
        lambda m: bool(m.mode_aliases),
        "The long names of BFL's documentation are understood for `mode`: {aliases}.",
    ),
    Rule(
        lambda m: bool(m.sent_defaults),
        "These defaults are always sent, whatever those of the API are.",
    ),
    Rule(
        lambda m: m.is_402_ambiguous,
        'HTTP 402 although the balance is enough means "too fast": it is waited out like a 429.',
    ),
    Rule(
        lambda m: "draft_enhance" in m.modes,
        "A draft has a `draft_cache` beside its video, which `draft_enhance` takes. It is landed beside the video.",
    ),
)
