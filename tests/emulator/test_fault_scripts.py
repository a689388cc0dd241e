"""Fault scripts: their syntax, their precedence and their counts."""

from __future__ import annotations

import re
import time

import pytest

from airflow_provider_flux.emulator import EmulatorConfig
from airflow_provider_flux.emulator.fault_scripts import (
    ALWAYS,
    Fault,
    FaultError,
    faults_in_header,
    faults_in_prompt,
    parse_fault,
    remove_markers,
)
from tests.emulator.conftest import Client, Start


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("truncate", Fault("truncate", times=1)),
        ("expired=always", Fault("expired", times=ALWAYS)),
        (" rate-limit = 3 , 0.5 ", Fault("rate-limit", times=3, seconds=0.5)),
        ("slow=2", Fault("slow", seconds=2.0)),
        ("moderated", Fault("moderated")),
        ("moderated=Violence,Self Harm", Fault("moderated", text="Violence,Self Harm")),
        ("stuck", Fault("stuck")),
        ("poll-500@3%", Fault("poll-500", times=ALWAYS, probability=0.03)),
        ("poll-500 = always @ 2.5 %", Fault("poll-500", times=ALWAYS, probability=0.025)),
        ("poll-503=2,1@50%", Fault("poll-503", times=2, seconds=1.0, probability=0.5)),
        ("moderated=Sold @ 5 %, not@home@100%", Fault("moderated", text="Sold @ 5 %, not@home")),
    ],
)
def test_a_fault_is_read_with_its_arguments(text: str, fault: Fault) -> None:
    assert parse_fault(text) == fault


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stuk", "Unknown fault 'stuk'. Known: rate-limit, "),
        ("slow", "must be written slow=SECONDS"),
        ("slow=soon", "'soon' is not a number of seconds"),
        ("slow=-1", "'-1' is not a number of seconds"),
        ("cut=-1", "'-1' is not a whole number"),
        ("cut=1,2", "must be written"),
        ("stuck=1", "must be written stuck"),
        ("poll-500@101%", "@SHARE of at most 100%"),
        ("poll-500@3", "Unknown fault 'poll-500@3'"),
    ],
)
def test_a_mistyped_fault_is_explained(text: str, message: str) -> None:
    with pytest.raises(FaultError, match=re.escape(message)):
        parse_fault(text)
    with pytest.raises(ValueError, match=re.escape(message)):
        EmulatorConfig(faults=[text])


def test_markers_are_found_and_removed() -> None:
    prompt = "a [[fault:slow=1]] red [[fault:cut=2]] fox"
    assert faults_in_prompt(prompt) == ["slow=1", "cut=2"]
    assert remove_markers(prompt) == "a red fox"
    assert faults_in_header("slow=1; cut ;") == ["slow=1", " cut "]
    assert faults_in_header(None) == []


def test_a_mistyped_fault_in_a_request_is_answered_400_with_the_known_faults(
    client: Client,
) -> None:
    by_prompt = client.post(json={"prompt": "[[fault:stuk]]"})
    by_header = client.post(
        json={"prompt": "x"}, headers={**client.headers, "x-flux-fault": "stuk"}
    )
    for answer in (by_prompt, by_header):
        assert answer.status_code == 400
        assert "Known: rate-limit, " in answer.json()["detail"]


def test_a_fault_in_the_prompt_beats_the_header_which_beats_the_server(start: Start) -> None:
    client = start(faults=["moderated=Server", "state-key"])
    assert client.get(client.submit()["polling_url"]).json()["state"]

    def reasons(prompt: str, header: str) -> list[str]:
        headers = {**client.headers, "x-flux-fault": header}
        task = client.post(json={"prompt": prompt}, headers=headers).json()
        time.sleep(0.05)
        return list(client.get(task["polling_url"]).json()["details"]["Moderation Reasons"])

    assert reasons("x", "") == ["Server"]
    assert reasons("x", "moderated=Header") == ["Header"]
    assert reasons("[[fault:moderated=Prompt]]", "moderated=Header") == ["Prompt"]


def test_several_faults_strike_one_after_the_other(client: Client) -> None:
    task = client.submit("[[fault:poll-500=1]] [[fault:poll-429=1]] [[fault:not-found=1]]")
    assert [client.get(task["polling_url"]).status_code for _ in range(4)] == [500, 429, 404, 200]


def test_each_request_counts_its_faults_by_itself(client: Client) -> None:
    first, second = (client.submit("[[fault:poll-500=1]]") for _ in range(2))
    assert [client.get(task["polling_url"]).status_code for task in (first, second)] == [500, 500]


def test_faults_of_header_and_server_strike_the_same_request(start: Start) -> None:
    client = start(faults=["poll-500=1"])
    answer = client.post(
        json={"prompt": "x"}, headers={**client.headers, "x-flux-fault": "error; slow=0"}
    )
    statuses = [client.get(answer.json()["polling_url"]) for _ in range(2)]
    assert (statuses[0].status_code, statuses[1].json()["status"]) == (500, "Error")
