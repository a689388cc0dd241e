"""A request as the code of a DAG: it gives the same request, and no text in it is rendered."""

from __future__ import annotations

import ast
from dataclasses import replace
from typing import Any

import pytest
from jinja2 import Environment

from airflow_provider_flux.gallery.card import Card
from airflow_provider_flux.gallery.dag_code import dag_code_of_card, dag_code_of_sidecar

PROMPTS = [
    "a fox",
    "{{ var.value.secret }}",
    "{% raw %}{{ x }}{% endraw %}",
    "{{{{% {# {{{ }}",
    "{{ '{{' }}",
    '\'); import os  # """ \\',
    "line\nline\r\n\ttab\n",
    "\u202eevil\u2066\x1b[2J\x00 \ud800 ü 日本",
]


def arguments_of(code: str) -> dict[str, Any]:
    """Return the arguments of a call of the operator, as Airflow renders them."""
    call = ast.parse(code, mode="eval").body
    assert isinstance(call, ast.Call)
    assert ast.unparse(call.func) == "FluxGenerateOperator"
    return {str(item.arg): ast.literal_eval(item.value) for item in call.keywords}


def render(text: str) -> str:
    return Environment(keep_trailing_newline=True).from_string(text).render()  # noqa: S701


@pytest.mark.parametrize("prompt", PROMPTS)
def test_the_rendered_prompt_of_the_code_is_the_prompt_of_the_card(prompt: str) -> None:
    code = dag_code_of_card(Card(key="sku 7/é.jpeg", model="flux-2-pro", prompt=prompt, seed=7))
    assert code.isascii() or code.replace("\n", "").isprintable()
    arguments = arguments_of(code)
    assert render(arguments["prompt"]).replace("\r\n", "\n") == prompt.replace("\r\n", "\n")
    assert arguments["model"] == "flux-2-pro"
    assert arguments["seed"] == 7
    assert arguments["task_id"] == "generate_sku_7"


def test_the_code_of_a_card_has_its_seed_of_0_and_the_size_if_its_model_has_one() -> None:
    card = Card(key="a", model="flux-2-pro", prompt="a fox", seed=0, width=512, height=256)
    arguments = arguments_of(dag_code_of_card(card))
    assert arguments["seed"] == 0
    assert arguments["parameters"] == {"width": 512, "height": 256}
    other = arguments_of(dag_code_of_card(replace(card, model="flux-kontext-pro")))
    assert "parameters" not in other


def test_the_code_of_a_sidecar_has_all_its_parameters() -> None:
    sidecar = {
        "model": "flux-2-pro",
        "seed": 9,
        "media": {"uri": "s3://b/hero.jpeg"},
        "request": {
            "model": "flux-2-pro",
            "prompt": "a fox",
            "parameters": {
                "width": 512,
                "seed": 1,
                "input_image": {"uri": "{{ x }}", "bytes": 3},
                "mask": {"uri": "base64"},
            },
        },
    }
    arguments = arguments_of(dag_code_of_sidecar(sidecar))
    assert arguments["seed"] == 9
    assert arguments["parameters"] == {"width": 512, "input_image": '{{ "{{" }} x }}'}


@pytest.mark.parametrize("sidecar", [{}, {"request": 1, "media": []}, {"request": {"prompt": {}}}])
def test_a_sidecar_of_a_stranger_gives_code_that_can_be_read(sidecar: dict[str, Any]) -> None:
    assert arguments_of(dag_code_of_sidecar(sidecar))["task_id"] == "generate_image"
