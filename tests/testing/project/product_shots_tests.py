"""The tests of docs/testing.md. They run in a process of their own, as test_product_shots.py."""

# [START tests]
import pytest
from product_shots import dag


def test_the_image_lands_after_a_deferral(flux_run_dag, flux_emulator, tmp_path):
    run = flux_run_dag(dag, run_conf={"product": "red vase", "folder": str(tmp_path)})

    assert run.state == "success"
    assert (tmp_path / "red vase.jpeg").exists()
    assert flux_emulator.stats()["submits_per_prompt"] == {"Studio photo of a red vase": 1}


# The trigger downloads three times, and then the worker. So the first try fails.
@pytest.mark.flux_emulator(faults=["html=6"])
def test_a_retry_does_not_pay_again(flux_run_dag, flux_emulator, tmp_path):
    run = flux_run_dag(dag, run_conf={"folder": str(tmp_path)})

    assert run.state == "success"
    assert run.get_task_instance("shot").try_number == 2
    assert flux_emulator.submits("teapot") == 1


@pytest.mark.flux_emulator(faults=["moderated=Violence"])
def test_a_moderated_image_fails_the_run(flux_run_dag, flux_emulator, tmp_path):
    run = flux_run_dag(dag, run_conf={"folder": str(tmp_path)})

    assert run.state == "failed"
    assert not (tmp_path / "teapot.jpeg").exists()


# [END tests]
