"""The pages of the reference, from docstrings and from the facts of ``facts.py``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from scripts.site.docstrings import as_markdown, describe, find_object, table

#: For each page of classes: title, one line of summary, and names below the package.
PAGES: Mapping[str, tuple[str, str, tuple[str, ...]]] = {
    "operators": (
        "Operators",
        "The operators and transfers, with every argument.",
        (
            "operators.generate.FluxGenerateOperator",
            "operators.batch.FluxGenerateBatchOperator",
            "operators.review.FluxReviewOperator",
            "operators.base.FluxLandingOperator",
            "transfers.flux_to_object_storage.FluxToObjectStorageOperator",
            "transfers.flux_manifest_to_sql.FluxManifestToSqlOperator",
        ),
    ),
    "decorators": (
        "Decorators",
        "`@task.flux` and `@task.flux_batch` take the arguments of their operators.",
        ("decorators.flux.flux_task", "decorators.flux_batch.flux_batch_task"),
    ),
    "sensors": (
        "Sensors",
        "Sensors wait for the account, and hold no worker slot if they defer.",
        ("sensors.credits.FluxCreditsSensor",),
    ),
    "hook": (
        "Hook",
        "The hook turns a connection of Airflow into a client.",
        ("hooks.flux.FluxHook",),
    ),
    "client": (
        "Client",
        "The clients work without Airflow. Both make the same decisions.",
        ("client.sync.FluxClient", "client.aio.FluxAsyncClient"),
    ),
    "triggers": (
        "Triggers",
        "Operators create these triggers. A DAG needs none of them.",
        (
            "triggers.result.FluxResultTrigger",
            "triggers.claim.FluxClaimTrigger",
            "triggers.credits.FluxCreditsTrigger",
        ),
    ),
    "notifier": (
        "Notifier and retry policy",
        "Callbacks and policies that a DAG file names.",
        ("notifications.flux.FluxNotifier", "policies.retry.FluxRetryPolicy"),
    ),
    "fixtures": (
        "pytest fixtures",
        "Fixtures of the plugin of pytest, which the package installs.",
        (
            "testing.plugin.flux_emulator",
            "testing.plugin.flux_connection",
            "testing.plugin.flux_run_dag",
            "testing.plugin.flux_airflow_home",
        ),
    ),
    "events": (
        "Events",
        "The XCom of a task, and the extras of asset events.",
        (
            "generation.Generation",
            "generation.LandedImage",
            "generation.LandedVideo",
            "generation.Rendition",
            "operators.asset_events.ImageEventExtra",
            "operators.asset_events.ImageListEventExtra",
            "operators.asset_events.BatchEventExtra",
            "bfl.webhook.WebhookNotice",
        ),
    ),
    "emulator-config": (
        "Emulator in Python",
        "The emulator as a server within a test.",
        ("emulator.config.EmulatorConfig", "emulator.server.EmulatorServer"),
    ),
}
#: The models of files, each with the module of its docstring.
_SCHEMAS = {
    "Sidecar": "landing.sidecar.Sidecar",
    "Record": "ledger.record.Record",
    "SegmentHeader": "ledger.journal_entries.SegmentHeader",
    "JournalEntry": "ledger.journal_entries.JournalEntry",
    "ReviewRecord": "review.record.ReviewRecord",
}
_BY_HAND = {
    "cli": ("Commands", "Every command of `airflow flux`, with its options."),
    "errors": ("Error classes", "Every error class, and whether a retry can help."),
    "configuration": ("Configuration", "Options of `[flux]`, and the extras of a connection."),
    "metrics": ("Metrics", "Every metric, its kind and its tags."),
    "files": ("Files", "Schemas of the files that the provider writes."),
}


def build_reference(facts: Mapping[str, Any]) -> dict[str, str]:
    """Return all pages of the reference, by path below ``docs/``.

    :param facts: the output of ``facts.py``.
    """
    pages = {f"reference/{name}.md": _classes(*page) for name, page in PAGES.items()}
    pages["reference/cli.md"] = _commands(facts)
    pages["reference/errors.md"] = _errors(facts)
    pages["reference/configuration.md"] = _configuration(facts)
    pages["reference/metrics.md"] = _metrics(facts)
    pages["reference/files.md"] = _files(facts)
    titles = {**{name: page[:2] for name, page in PAGES.items()}, **_BY_HAND}
    rows = [(f"[{title}]({name}.md)", text) for name, (title, text) in sorted(titles.items())]
    pages["reference/index.md"] = _page(
        "Reference",
        "These pages come from the source of this version. Choose a page by its topic:",
        table(("page", "content"), rows),
    )
    return pages


def _page(title: str, summary: str, lines: Sequence[str]) -> str:
    return "\n".join([f"# {title}", "", summary, "", *lines])


def _classes(title: str, summary: str, names: Sequence[str]) -> str:
    return _page(title, summary, [describe(name) for name in names])


def _commands(facts: Mapping[str, Any]) -> str:
    lines = [
        "`python -m airflow_provider_flux COMMAND` runs the same commands without `airflow`, also "
        "on Airflow before 3.2. Guides are in [command line](../cli.md).",
        "",
    ]
    for command in facts["commands"]:
        name = command["name"]
        lines += [f"## airflow flux {name}", "", as_markdown(command["description"]), ""]
        lines += table(("option", "default", "meaning"), [_option(o) for o in command["options"]])
    return _page(*_BY_HAND["cli"], lines)


def _option(option: Mapping[str, Any]) -> tuple[str, str, str]:
    flags = ", ".join(f"`{flag}`" for flag in option["flags"])
    default = option["default"]
    shown = "" if default in (None, "") or option["is_flag"] else f"`{default}`"
    choices = ", ".join(f"`{choice}`" for choice in option["choices"])
    text = _escape(option["text"]) + (f" One of {choices}." if choices else "")
    return flags, "required" if option["is_required"] else shown, text


def _escape(text: str) -> str:
    return text.replace("<", "&lt;").replace("*", "\\*").replace("[", "\\[").replace("_", "\\_")


def _errors(facts: Mapping[str, Any]) -> str:
    module = find_object("bfl.errors")
    lines = [
        "The [guide to errors](../errors.md) has the remedy of each. *Permanent* errors are not "
        "retried: the task fails at once. An error that is not permanent uses Airflow's `retries`.",
        "",
    ]
    for name, item in module.members.items():
        if item.is_alias or not item.is_class:
            continue
        kind = "permanent" if name in facts["permanent"] else "retries apply"
        anchor = name.lower()
        text = describe(f"bfl.errors.{name}")
        head, _, body = text.partition("\n\n")
        lines += [head, "", f"*{kind}* · [remedy](../errors.md#{anchor})", "", body.strip(), ""]
    return _page(*_BY_HAND["errors"], lines)


def _configuration(facts: Mapping[str, Any]) -> str:
    options = [
        (f"`{name}`", option["type"], f"`{option['default']}`" if option["default"] else "",
         as_markdown(option["description"]))
        for name, option in facts["config"].items()
    ]  # fmt: skip
    extras = []
    for name, field in facts["connection"].items():
        kind = field["schema"]["type"]
        shown = " or ".join(kind) if isinstance(kind, list) else kind
        extras.append((f"`{name}`", shown, field["label"], as_markdown(field["description"])))
    emulator = [_option(option) for option in facts["emulator"]]
    lines = [
        "## Options of Airflow",
        "",
        "Set them in the section `[flux]` of `airflow.cfg`, or as `AIRFLOW__FLUX__NAME`:",
        "",
        *table(("option", "type", "default", "meaning"), options),
        "## Extras of a connection",
        "",
        "Put them into the extra of a connection of type `flux`. The page of the "
        "[connection](../connection.md) has examples:",
        "",
        *table(("extra", "type", "label in the form", "meaning"), extras),
        "## Options of the emulator",
        "",
        "Pass them to `airflow flux emulator`. Its [guide](../emulator.md) lists the faults:",
        "",
        *table(("option", "default", "meaning"), emulator),
    ]
    return _page(*_BY_HAND["configuration"], lines)


def _metrics(facts: Mapping[str, Any]) -> str:
    rows = [
        (f"`{metric['name']}`", metric["kind"], ", ".join(metric["tags"]), metric["text"])
        for metric in facts["metrics"]
    ]
    lines = [
        "Airflow sends them to StatsD or OpenTelemetry. Add the prefix of the deployment, "
        "`airflow` by default:",
        "",
        *table(("metric", "kind", "tags", "meaning"), rows),
    ]
    return _page(*_BY_HAND["metrics"], lines)


def _files(facts: Mapping[str, Any]) -> str:
    lines = [describe("batch.report.manifest.ManifestRow")]
    for name, schema in facts["schemas"].items():
        text = json.dumps(schema, indent=2)
        lines += [
            describe(_SCHEMAS[name]),
            f'??? note "JSON schema of {name}"',
            "",
            "    ```json",
            *(f"    {line}" for line in text.splitlines()),
            "    ```",
            "",
        ]
    return _page(*_BY_HAND["files"], lines)
