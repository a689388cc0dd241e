"""An image lands in each store under the name that the XCom has, or its path is refused."""

from __future__ import annotations

import json

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.emulator import EmulatorServer
from tests.support.image_task import image_task, run_task
from tests.support.object_stores import Store

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.mark.parametrize(
    "name", ["a b/%20+&=.{ext}", "-x/~a@b!$'(),.{ext}", "é/日本/कि-ที่.{ext}", "a:b.c/..d.{ext}"]
)
def test_an_image_lands_under_the_name_of_the_xcom(
    emulator: EmulatorServer, store: Store, name: str
) -> None:
    """Fault 31: the name in the XCom, in the sidecar and in the store are one."""
    generation = run_task(image_task(f"{store.root}/{name}"))
    expected = f"{store.root}/{name.replace('{ext}', 'jpeg')}"
    assert generation["image"]["uri"] == expected
    assert store.read(expected)
    assert json.loads(store.read(f"{expected}.json") or b"")["media"]["uri"] == expected


@pytest.mark.parametrize("name", ["x.jpeg?", "x.jpeg#", "a?b.jpeg", "a#b/x.jpeg", "a::b.jpeg"])
def test_a_path_that_lands_under_another_name_is_refused_at_parse(store: Store, name: str) -> None:
    """Fault 31: ``x.jpeg?`` landed as ``x.jpeg``."""
    with pytest.raises(FluxRequestError, match="so as another name"):
        image_task(f"{store.root}/{name}")


def test_a_template_that_renders_to_such_a_path_is_refused_before_the_submit(
    emulator: EmulatorServer, store: Store
) -> None:
    """Fault 31: a folder from a template can hold any character."""
    task = image_task(f"{store.root}/{{{{ x }}}}/hero.jpeg")
    task.render_template_fields({"x": "C#"})
    with pytest.raises(AirflowFailException, match="holds #"):
        run_task(task)
    assert emulator.stats()["submits"] == 0


def test_a_path_that_is_too_long_for_its_sidecar_is_refused_before_the_submit(
    emulator: EmulatorServer, store: Store
) -> None:
    """Fault 15: the image was billed, landed, and had no sidecar, or did not land."""
    length = 255 if store.scheme == "file" else 1024 - len(store.root.partition("@")[2]) + 5
    name = "x" * (length - 5) + ".jpeg"
    task = image_task(f"{store.root}/{name}")
    with pytest.raises(AirflowFailException, match="for the sidecar"):
        run_task(task)
    assert emulator.stats()["submits"] == 0
