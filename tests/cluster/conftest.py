"""The DAG folder of a cluster, and the environment that connects it to the emulator."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from airflow_provider_flux.emulator import EmulatorServer

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "example_dags"
README_DAG = ROOT / "docs" / "snippets" / "ten_lines.py"
KEY = "bfl_canary_key_0123456789"
WEBHOOK_SECRET = "canary-webhook-secret-of-the-connection"


def copy_examples(folder: Path, output: str) -> Path:
    """Copy the example DAGs and that of the README, and add a hero image that defers immediately.

    The nightly DAGs have no schedule: a scheduled first run would generate 500 images.

    :param folder: the new DAG folder.
    :param output: URI of the folder that the DAG of the README writes to.
    :returns: ``folder``.
    """
    shutil.copytree(EXAMPLES, folder)
    hero = (EXAMPLES / "flux_hero_image.py").read_text()
    deferred = hero.replace('"flux_hero_image"', '"flux_hero_deferred"').replace(
        "/hero/", "/hero-deferred/"
    )
    changed = deferred.replace("deferrable=True", "deferrable=True, inline_wait=0")
    assert changed != deferred
    (folder / "flux_hero_deferred.py").write_text(changed)
    for name, schedule in (("nightly_catalogue", "@daily"), ("review", "0 2 * * *")):
        nightly = folder / f"flux_{name}.py"
        text = nightly.read_text()
        assert f'schedule="{schedule}"' in text
        nightly.write_text(text.replace(f'schedule="{schedule}"', "schedule=None"))
    (folder / "ten_lines.py").write_text(README_DAG.read_text().replace("file:///tmp/flux", output))
    return folder


def flux_environment(emulator: EmulatorServer, output: Path) -> dict[str, str]:
    """Return the connection, variables and settings that the example DAGs use.

    :param emulator: the emulator that the connection points to.
    :param output: the folder that the images land in.
    """
    connection = {
        "conn_type": "flux",
        "password": KEY,
        "host": emulator.url,
        "extra": {"webhook_secret": WEBHOOK_SECRET},
    }
    return {
        "AIRFLOW_CONN_FLUX_DEFAULT": json.dumps(connection),
        "AIRFLOW_VAR_FLUX_OUTPUT": f"file://{output}",
        "AIRFLOW_VAR_FLUX_CATALOG_DB": str(output / "catalog.db"),
    }
