"""The prose of docs/models.md: its introduction, and the rules that no table contains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from airflow_provider_flux.bfl.catalog import Model

INTRO = """\
# Models

`scripts/model_page` writes this page from the catalog of this version. It lists every model that
[`FluxGenerateOperator`](operators/generate.md) and `FluxHook.submit` know, and every parameter. To
use a model that is not listed, see [new-models.md](new-models.md).

- **Credits** are the price list of this version. One credit is 0.01 USD. A megapixel is 1024 x 1024
  pixels, rounded up. These are estimates, and BFL's bill counts. If BFL reports the cost of a
  request, the XCom has the reported cost.
- **Active generations** is the limit of an account by BFL's documentation. Models with the same
  limit share it.
- **Usual seconds** is an assumption of this version and not guaranteed. The default `timeout`, and
  whether a task defers at once, depend on it.
- **URL lives** is how long BFL usually serves the result. Each signed URL names its own expiry,
  which counts. With `output_path` the result is landed long before.

"""

#: Columns of the table of all models.
COLUMNS = (
    "model",
    "output",
    "credits",
    "BFL reports the cost",
    "active generations",
    "webhooks",
    "usual seconds",
    "URL lives",
)

HOW_TO_READ = """\

## Rules for all models

Copy an example into a `with DAG(...)` block, after
`from airflow_provider_flux.operators.generate import FluxGenerateOperator`. Add `output_path` to
land the result. The examples read their inputs from a bucket with the Airflow connection `my_s3`.
[inputs.md](inputs.md) lists all other sources.

In the tables, a parameter in bold is an argument of the operator: `width=1024`. All others go into
`parameters`. *Default* is the value that applies if the parameter is not sent. *URL, or sent as
base64* means that BFL fetches an http(s) URL itself, and the worker reads every other input. *Sent
as base64* means that the worker reads all of them. The worker checks the limits of the inputs that
it reads before it submits.

This provider also refuses the following before the submit:

- a parameter that the model does not have. Most routes of BFL ignore it and bill the image. The
  routes that refuse it themselves are marked *strict*;
- `webhook_secret` without `webhook_url`;
- an empty `prompt`, unless the section of the model says otherwise.

*Warned* means that the request is sent and the task log has a warning, because BFL's documentation
does not say, or contradicts itself. A `webhook_url` that is not https is warned of in all models.
"""


@dataclass(frozen=True)
class Rule:
    """A rule that the tables do not contain.

    :param applies: whether a model has the rule.
    :param text: one or more sentences of the page.
    """

    applies: Callable[[Model], bool]
    text: str


def _fills(model: Model) -> bool:
    """Whether the model has a required input, so that the prompt may be missing."""
    return not model.prompt_required and any(
        model.schema.model_fields[field.name].is_required() for field in model.media
    )


def _is_numbered(model: Model) -> bool:
    return "input_image_2" in model.media_fields


REFUSED = (
    Rule(
        lambda m: "image_prompt" in m.media_fields,
        "An empty `prompt`, unless there is an `image_prompt`.",
    ),
    Rule(
        lambda m: any(field.same_size_as for field in m.media),
        "A `mask` whose size differs from `image`, if the worker reads both.",
    ),
    Rule(
        lambda m: "auto_crop" in m.fields,
        "An `input_image` outside the canvas, if the worker reads it and `auto_crop` is not "
        "`True`.",
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
    Rule(
        lambda m: m.name.startswith("flux-2-"),
        "A side of more than 8192 pixels, or more than 16 megapixels of output.",
    ),
)
WARNED = (
    Rule(
        lambda m: m.name.startswith("flux-2-"),
        "A `width` or `height` that is not a multiple of 16: BFL may round or refuse it.",
    ),
    Rule(
        lambda m: m.name.startswith("flux-2-"),
        "More than 4 megapixels of output, or more than 9 of inputs and output: BFL may reduce "
        "or refuse them.",
    ),
    Rule(
        lambda m: m.name.startswith("flux-kontext-"),
        "An `aspect_ratio` that is not between 21:9 and 9:21: BFL may refuse it.",
    ),
    Rule(
        lambda m: m.name.startswith("flux-kontext-"),
        "A `safety_tolerance` above 2 with an `input_image`: BFL may allow at most 2.",
    ),
    Rule(
        lambda m: m.name == "flux-3-image",
        "A `safety_tolerance` above 4: BFL's statements differ, and it may allow at most 4.",
    ),
    Rule(
        lambda m: "draft" in m.fields,
        "A draft in another `resolution` than `hd`: BFL may refuse it, or generate it in `hd`.",
    ),
    Rule(
        _is_numbered,
        "A gap in `input_image`, `input_image_2` and so on: prompts count the images in order.",
    ),
    Rule(
        lambda m: m.name == "flux-tools/video-upscale-v1",
        "A video of more than 20 s: BFL upscales only the first 20 s.",
    ),
)
NOTES = (
    Rule(
        lambda m: m.output == "image" and "output_format" not in m.fields,
        "The image is a PNG. The route has no `output_format`.",
    ),
    Rule(_fills, "`prompt` may be missing."),
    Rule(
        lambda m: bool(m.mode_aliases),
        "`mode` also accepts the long names of BFL's documentation: {aliases}.",
    ),
    Rule(
        lambda m: bool(m.sent_defaults),
        "The operator always sends these defaults, because those of the API may differ.",
    ),
    Rule(
        lambda m: m.is_402_ambiguous,
        'HTTP 402 although the balance is enough means "too fast". The submit is retried, as after '
        "a 429.",
    ),
    Rule(
        lambda m: "draft_enhance" in m.modes,
        "The result of a draft has a `draft_cache`, which `draft_enhance` needs. It is landed "
        "next to the video.",
    ),
)
