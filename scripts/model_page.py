"""Write docs/models.md from the catalog of the package, so that it cannot say anything else.

``python scripts/model_page.py`` writes the page; with ``--check`` it only says whether it is stale.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from airflow_provider_flux.bfl.catalog import MODELS, MediaField, MediaKind, Model
from airflow_provider_flux.bfl.catalog.entry import MIB
from airflow_provider_flux.bfl.requests.common import StrictInputs

ROOT = Path(__file__).resolve().parents[1]
PAGE = Path("docs") / "models.md"

#: Model parameters that are arguments of FluxGenerateOperator; all others go into ``parameters``.
ARGUMENTS = (
    "prompt",
    "width",
    "height",
    "prompt_upsampling",
    "seed",
    "safety_tolerance",
    "output_format",
    "webhook_url",
    "webhook_secret",
)
#: What many models take, told below what is their own.
COMMON = ("safety_tolerance", "output_format", "seed", "user", "webhook_url", "webhook_secret")

_WHEN = {"at submit": "yes, at the submit", "when ready": "yes, when ready", "never": "no"}
_JSON_TYPES = {"string": "text", "integer": "integer", "number": "number", "boolean": "boolean"}

_PROMPTS = {
    "flux-tools/vto-v1": "A person wearing the garment, studio photo",
    "flux-tools/vto-v2": "A person wearing the garment, studio photo",
    "flux-tools/video-edit-v1": "Make it snow",
    "flux-tools/video-upscale-v1": "A walk through a living room",
    "flux-pro-1.0-fill": "A vase with yellow tulips",
    "flux-pro-1.0-fill-finetuned": "A vase with yellow tulips",
    "flux-pro-1.0-expand": "A bright living room",
    "flux-tools/outpainting-v1": "A bright living room",
}
_PROMPT = "A lighthouse on a cliff, editorial photo"
_VALUES: Mapping[str, Any] = {"finetune_id": "my-finetune", "width": 1536, "height": 1024, "left": 256, "right": 256}
_FILES = {"person": "person.jpeg", "garment": "garment.jpeg"}
_FILE_OF = {
    MediaKind.IMAGE: "room.jpeg",
    MediaKind.MASK: "mask.png",
    MediaKind.VIDEO: "clip.mp4",
    MediaKind.DRAFT: "draft.draft.bin",
}

_INTRO = """\
# Models

This page is written by `scripts/model_page.py` from the catalog of this version. It lists every model that
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

_HOW_TO_READ = """\

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
    return not model.prompt_required and any(model.schema.model_fields[one.name].is_required() for one in model.media)


def _is_numbered(model: Model) -> bool:
    return "input_image_2" in model.media_fields


REFUSED = (
    Rule(lambda m: "image_prompt" in m.media_fields, "An empty `prompt`, unless there is an `image_prompt`."),
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
    Rule(lambda m: bool(m.sent_defaults), "These defaults are always sent, whatever those of the API are."),
    Rule(
        lambda m: m.busy_is_402,
        'HTTP 402 although the balance is enough means "too fast": it is waited out like a 429.',
    ),
    Rule(
        lambda m: "draft_enhance" in m.modes,
        "A draft has a `draft_cache` beside its video, which `draft_enhance` takes. It is landed beside the video.",
    ),
)


def page(models: Mapping[str, Model] = MODELS) -> str:
    """Return the whole page."""
    rows = "\n".join(overview_row(model) for model in models.values())
    sections = "\n".join(section(model) for model in models.values())
    return f"{_INTRO}{rows}\n{_HOW_TO_READ}\n{sections}"


def overview_row(model: Model) -> str:
    """Return the line of a model in the first table."""
    cells = (
        f"[`{model.name}`](#{anchor(model.name)})",
        model.output,
        model.price.describe(),
        _WHEN[model.cost_reported],
        str(model.max_active),
        "yes" if model.has_webhooks else "no",
        f"{model.typical_seconds:g}",
        duration(model.url_lifetime),
    )
    return f"| {' | '.join(cells)} |"


def section(model: Model) -> str:
    """Return the section of a model: what it is, an example, its parameters, its rules."""
    strict = " The route is strict." if issubclass(model.schema, StrictInputs) else ""
    parts = [f"## {model.name}", f"{first_line(model.schema)} Route: `{model.path}`.{strict}"]
    if not model.modes:
        parts += [f"```python\n{example(model)}```", parameter_table(model, model.schema)]
    for mode, schema in model.modes.items():
        parts += [
            f"### {model.name}, mode {mode}",
            first_line(schema),
            f"```python\n{example(model, mode)}```",
            parameter_table(model, schema),
        ]
    parts += rules(model)
    return "\n\n".join(parts) + "\n"


def rules(model: Model) -> list[str]:
    """Return what is said below the tables of a model."""
    blocks = []
    for title, group in (("Notes", NOTES), ("Refused", REFUSED), ("Warned", WARNED)):
        texts = [rule.text for rule in group if rule.applies(model)]
        if texts:
            aliases = ", ".join(f"`{long}` for `{short}`" for long, short in model.mode_aliases.items())
            blocks.append("\n".join([f"{title}:\n", *(f"- {text.format(aliases=aliases)}" for text in texts)]))
    return blocks


def parameter_table(model: Model, schema: type[BaseModel]) -> str:
    """Return the table of the parameters of a schema."""
    described = schema.model_json_schema()["properties"]
    lines = ["| parameter | type | required | default | values | meaning |", "|---|---|---|---|---|---|"]
    for name in ordered(model, schema):
        spec, media, info = described[name], model.media_fields.get(name), schema.model_fields[name]
        cells = (
            f"**`{name}`**" if name in ARGUMENTS else f"`{name}`",
            media_type(media, spec) if media else json_type(spec),
            "yes" if info.is_required() else "no",
            default_of(model, name, spec, is_required=info.is_required()),
            media_limits(media, spec) if media else limits(spec),
            str(info.description),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def ordered(model: Model, schema: type[BaseModel]) -> list[str]:
    """Return the parameters as they are shown: mode, prompt, inputs, what is the model's own, what is common."""
    names = list(schema.model_fields)
    first = [name for name in ("mode", "prompt", *model.media_fields) if name in names]
    last = [name for name in COMMON if name in names]
    return [*first, *(name for name in names if name not in {*first, *last}), *last]


def example(model: Model, mode: str | None = None) -> str:
    """Return a call of the operator with the least that makes sense for the model."""
    schema = model.modes[mode] if mode else model.schema
    named: dict[str, Any] = {"task_id": "generate", "model": model.name}
    parameters: dict[str, Any] = {"mode": mode} if mode else {}
    for name in ordered(model, schema):
        value = _example_value(model, schema, name)
        if value is None or name in parameters:
            continue
        (named if name in ARGUMENTS else parameters)[name] = value
    lines = [f"    {name}={literal(value)}," for name, value in named.items()]
    if parameters:
        lines += _dict_lines(parameters)
    return "\n".join(["FluxGenerateOperator(", *lines, ")"]) + "\n"


def _example_value(model: Model, schema: type[BaseModel], name: str) -> Any:
    media, is_required = model.media_fields.get(name), schema.model_fields[name].is_required()
    if name == "prompt":
        return _PROMPTS.get(model.name, _PROMPT)
    if media and (is_required or media.kind is MediaKind.MASK):
        return f"s3://my_s3@media/in/{_FILES.get(name, _FILE_OF[media.kind])}"
    return _VALUES.get(name, "...") if is_required or name in {"left", "right"} else None


def _dict_lines(parameters: Mapping[str, Any]) -> list[str]:
    items = ", ".join(f"{literal(name)}: {literal(value)}" for name, value in parameters.items())
    if len(items) < 90:
        return [f"    parameters={{{items}}},"]
    inside = [f"        {literal(name)}: {literal(value)}," for name, value in parameters.items()]
    return ["    parameters={", *inside, "    },"]


def literal(value: Any) -> str:
    """Return a value as Python text, with double quotes."""
    return f'"{value}"' if isinstance(value, str) else repr(value)


def json_type(spec: Mapping[str, Any]) -> str:
    """Return the type of a field in words."""
    kinds = [
        "URL" if one.get("format") == "uri" else _JSON_TYPES[one["type"]] for one in ways(spec) if not _is_auto(one)
    ]
    return " or ".join(dict.fromkeys(kinds))


def limits(spec: Mapping[str, Any]) -> str:
    """Return what values a field takes, in words."""
    return ", or ".join(text for one in ways(spec) if (text := _limits_of(one)))


def _limits_of(one: Mapping[str, Any]) -> str:
    if "const" in one:
        return f"`{one['const']}`"
    if "enum" in one:
        return ", ".join(f"`{value}`" for value in one["enum"])
    if "maxLength" in one:
        return f"{one.get('minLength', 0)} to {one['maxLength']} characters"
    least, most, step = one.get("minimum"), one.get("maximum"), one.get("multipleOf")
    parts = [] if least is None else [f"{least:g} to {most:g}" if most is not None else f"{least:g} or more"]
    return ", ".join([*parts, *([f"multiples of {step:g}"] if step else [])])


def ways(spec: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the ways to write a field's value; null is left out."""
    for one in spec.get("anyOf", [spec]):
        if one.get("type") != "null":
            yield one


def _is_auto(one: Mapping[str, Any]) -> bool:
    return bool(one.get("const") == "auto")


def media_type(media: MediaField, spec: Mapping[str, Any]) -> str:
    """Return what an input is, and whether it may be several."""
    is_list = any(one.get("type") == "array" for one in ways(spec))
    return f"{media.kind.value}, or a list" if is_list else media.kind.value


def media_limits(media: MediaField, spec: Mapping[str, Any]) -> str:
    """Return how an input is sent, and its limits, in words."""
    parts = ["URL, or sent as base64" if media.takes_url else "sent as base64"]
    most = next((one["maxItems"] for one in ways(spec) if "maxItems" in one), None)
    parts += [f"up to {most}"] if most else []
    parts.append(f"at most {media.max_bytes // MIB} MiB")
    parts += [f"at most {media.max_pixels / 1e6:.3g} million pixels"] if media.max_pixels else []
    parts += [f"at least {media.min_side}x{media.min_side} pixels"] if media.min_side else []
    parts += [f"at most {media.max_seconds:g} s"] if media.max_seconds else []
    parts += [f"same size as `{media.same_size_as}`"] if media.same_size_as else []
    return "; ".join(parts)


def default_of(model: Model, name: str, spec: Mapping[str, Any], *, is_required: bool) -> str:
    """Return the default of a field: what the operator sends, or what the service takes."""
    if is_required:
        return ""
    value = model.sent_defaults.get(name, spec.get("default"))
    if value is None:
        return "none"
    if value == "":
        return "empty"
    if any(value < one["minimum"] for one in ways(spec) if "minimum" in one and not isinstance(value, str)):
        return "chosen by BFL"
    return f"`{value}`"


def duration(seconds: float) -> str:
    """Return a time in words."""
    return f"{seconds / 3600:g} h" if seconds >= 3600 else f"{seconds / 60:g} min"


def anchor(heading: str) -> str:
    """Return the fragment GitHub gives to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def first_line(schema: type[BaseModel]) -> str:
    """Return what a schema says of itself."""
    return (schema.__doc__ or "").strip().splitlines()[0]


def main(argv: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Write the page, or check it; return the exit code."""
    parser = argparse.ArgumentParser(description="Write docs/models.md from the catalog.")
    parser.add_argument("--check", action="store_true", help="change nothing, exit 1 if the page is stale")
    options = parser.parse_args(argv)
    path = root / PAGE
    wanted = page()
    if path.exists() and path.read_text(encoding="utf-8") == wanted:
        return 0
    if options.check:
        print(f"{PAGE} is stale: run 'make docs', or python scripts/model_page.py", file=sys.stderr)
        return 1
    path.write_text(wanted, encoding="utf-8")
    print(f"{PAGE} renewed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
