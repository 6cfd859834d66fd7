"""Options for the whole suite, and what the tests share."""

from __future__ import annotations

import gc
import os
import re
import signal
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("recon", deadline=None, suppress_health_check=[HealthCheck.too_slow])  # no test fails by a clock
settings.load_profile("recon")
os.environ.setdefault("OMP_NUM_THREADS", "1")
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it, and so would all that we start
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # as nohup's does: a run that is told to stop by it would go on for ever
os.environ["COLUMNS"] = "80"
os.environ["HF_HUB_OFFLINE"] = "1"  # no test asks the network
collect_ignore = ["losses", "steps"]  # what people wrote: some of it must not be imported
os.fsync = lambda handle: None  # nobody switches the machine off meanwhile, and each waits for the disk
gc.disable()  # until all is collected: a quarter of that time is spent looking through what stays


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", default="cpu", help="where tensors live: cpu, cuda, cuda:1, mps")
    parser.addoption("--update-readme", action="store_true", help="write the outputs that the README shows anew")


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> str:
    """The device that the suite runs on."""
    return request.config.getoption("--device")


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """``recon audit`` called in this process does its work here: a process for each would take minutes."""
    from recon_cli.runtime import supervisor

    def work_here(work: str, given: Mapping[str, Any], timeout: float, subject: str = "") -> Any:
        module, _, name = work.partition(":")
        return getattr(import_module(module), name)(**given)

    monkeypatch.setattr(supervisor, "run_supervised", work_here)
    monkeypatch.setattr(supervisor, "run_in_parts", work_here)


@pytest.fixture(autouse=True)
def no_kept_kernels(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:  # fmt: skip
    """Kernels that somebody has kept on this machine are not taken: each test has a folder of its own, made when it is used."""
    own = re.sub(r"\W", "_", request.node.nodeid)[-120:]
    monkeypatch.setattr("recon_cli.runtime.kernels.folder", lambda: tmp_path_factory.getbasetemp() / "kernels" / own)


@pytest.fixture
def mnist() -> Path:
    """The folder of real MNIST images, or a skip."""
    folder = Path(__file__).parents[2] / "shared" / "data" / "mnist"
    if not folder.is_dir():
        pytest.skip(f"there is no {folder}: a fresh clone has only the bundled digits")
    return folder


# What takes longest and has a quicker neighbour of its kind in the default run: beginnings of names. Run them with -m slow.
SLOW = (
    "test_accuracy.py::test_the_last_bit_on_adversarial_points[discretized-logistic-mixture",
    "test_accuracy.py::test_the_last_bit_on_adversarial_points[gaussian-mixture",
    "test_audit.py::test_a_function_that_never_returns",
    "test_audit_cases.py::test_the_listed_losses[56 standardised]",
    "test_audit_targets.py::test_a_gradient_that_vanishes_elsewhere_than_at_the_target_is_no_elbo[<lambda>-0.990099 x",
    "test_audit_variations.py::test_variations[charbonnier",
    "test_audit_variations.py::test_variations[cubic",
    "test_audit_variations.py::test_variations[log_cosh",
    "test_audit_variations.py::test_variations[nothing_of_names_bce]",
    "test_audit_variations.py::test_variations[tanh_scaled",
    "test_autoencoder.py::test_a_run_of_one_is_reconstructed_and_has_no_rate[linear]",
    "test_autoencoder.py::test_the_linear_one_reaches_pca",
    "test_calibration_noise.py::test_mnist_s_ten_thousand",
    "test_calibration_noise.py::test_pictures_are_drawn[pdf]",
    "test_calibration_noise.py::test_pictures_are_drawn[svg]",
    "test_calibration_noise.py::test_the_prediction_is_what_training_finds",
    "test_cli.py::test_a_full_disk_under_standard_output_is_a_sentence",
    "test_cli.py::test_a_reader_that_goes_away",
    "test_cli.py::test_a_stream_that_takes_nothing_is_no_refutation[derive gaussian-2>&-",
    "test_cli.py::test_an_ascii_pipe_gets_ascii_from_outside",
    "test_cli.py::test_one_row_that_does_not_hold_is_1_and_leaves_standard_error_empty_from_outside",
    "test_cli.py::test_one_seed_gives_one_result_in_every_process",
    "test_cli.py::test_the_first_line_alone_is_no_traceback",
    "test_compiled.py::test_a_step_is_one_graph_and_the_same[gaussian-0.5",
    "test_compiled.py::test_a_step_is_one_graph_and_the_same[hetero",
    "test_compiled.py::test_what_is_no_one_graph_goes_in_parts[gaussian-optimal",
    "test_contract.py::test_a_batch_costs_the_sum_of_its_elements[discretized-logistic-mixture:components=2",
    "test_contract.py::test_a_loss_is_its_formula_value_and_gradient[float32-discretized-logistic-mixture-nll",
    "test_contract.py::test_a_loss_is_its_formula_value_and_gradient[float32-gaussian-mixture-nll",
    "test_contract.py::test_autograd_agrees_with_differences_to_the_second_order[discretized-logistic-mixture:components=2",
    "test_contract.py::test_autograd_agrees_with_differences_to_the_second_order[gaussian-mixture:components=2",
    "test_contract.py::test_autograd_agrees_with_differences_to_the_second_order[laplace-mixture:components=2",
    "test_contract.py::test_fit_finds_the_noise_that_made_the_data[discretized-gaussian:scale=0.3",
    "test_contract.py::test_fit_finds_the_noise_that_made_the_data[discretized-gaussian:scale=0.5,levels=3",
    "test_contract.py::test_fit_finds_the_noise_that_made_the_data[discretized-gaussian:scale=2.7",
    "test_contract.py::test_fit_finds_the_noise_that_made_the_data[negative-binomial:dispersion=2.7",
    "test_contract.py::test_fit_finds_the_noise_that_made_the_data[ordinal:scale=0.3",
    "test_contract.py::test_functorch_and_the_compiler_take_it[asymmetric",
    "test_contract.py::test_functorch_and_the_compiler_take_it[binomial",
    "test_contract.py::test_functorch_and_the_compiler_take_it[continuous",
    "test_contract.py::test_functorch_and_the_compiler_take_it[discretized",
    "test_contract.py::test_functorch_and_the_compiler_take_it[gaussian-mixture",
    "test_contract.py::test_functorch_and_the_compiler_take_it[multinomial",
    "test_contract.py::test_functorch_and_the_compiler_take_it[negative-binomial",
    "test_contract.py::test_functorch_and_the_compiler_take_it[ordinal",
    "test_contract.py::test_functorch_and_the_compiler_take_it[poisson",
    "test_contract.py::test_functorch_and_the_compiler_take_it[von-mises",
    "test_contract.py::test_gradient_is_the_derivative_of_the_density[discretized-logistic-mixture:components=2,levels=256-float32",
    "test_contract.py::test_gradient_is_the_derivative_of_the_density[laplace-mixture:components=2",
    "test_contract.py::test_nll_is_the_density[discretized-logistic-mixture:components=2,levels=256-float32",
    "test_contract.py::test_samples_follow_the_density[0.5-",
    "test_contract.py::test_the_density_adds_up_to_one[student-t:df=0.3",
    "test_contract.py::test_the_density_adds_up_to_one[student-t:df=0.5",
    "test_contract.py::test_the_density_adds_up_to_one[student-t:df=2.7",
    "test_contract.py::test_the_raw_output_gives_the_nll_of_its_mean[discretized-logistic-mixture:components=2,levels=256-float32",
    "test_derivation.py::test_a_broken_density_is_refuted[a lost half]",
    "test_derivation.py::test_a_broken_density_is_refuted[half of log",
    "test_derivation.py::test_a_broken_density_is_refuted[the misprint",
    "test_distributed.py::test_a_sweep_is_shared_run_by_run",
    "test_distributed.py::test_any_number_of_processes_make_the_same_steps[bits",
    "test_distributed.py::test_any_number_of_processes_make_the_same_steps[learned",
    "test_distributed.py::test_any_number_of_processes_make_the_same_steps[sgd",
    "test_fitting.py::test_many_elements_end_where_their_own_slope_is_zero[generalized",
    "test_fitting.py::test_many_elements_end_where_their_own_slope_is_zero[logistic",
    "test_fitting.py::test_many_values_reconstructed_exactly_are_refused",
    "test_formats.py::test_any_page_is_plain_and_no_wider_than_asked[200]",
    "test_formats.py::test_any_page_is_plain_and_no_wider_than_asked[40]",
    "test_formats.py::test_no_number_is_cut_at_any_width[5]",
    "test_formats_in.py::test_damage_ends_in_numbers_or_a_sentence",
    "test_formats_in.py::test_mnist_is_the_same_in_every_format",
    "test_interruption.py::test_a_finished_run_is_told_again",
    "test_interruption.py::test_ctrl_c_finishes_the_step[1]",
    "test_interruption.py::test_ctrl_c_finishes_the_step[24]",
    "test_interruption.py::test_ctrl_c_finishes_the_step[72]",
    "test_interruption.py::test_ctrl_c_from_a_shell",
    "test_interruption.py::test_every_optimizer_goes_on_where_it_was[ada",
    "test_interruption.py::test_every_optimizer_goes_on_where_it_was[n",
    "test_interruption.py::test_every_optimizer_goes_on_where_it_was[r",
    "test_interruption.py::test_killed_at_random_moments_it_ends_in_the_same_bits[optimal]",
    "test_interruption.py::test_killed_inside_a_write_it_ends_in_the_same_bits[fsync]",
    "test_interruption.py::test_killed_inside_a_write_it_ends_in_the_same_bits[half]",
    "test_interruption.py::test_sigma_stays_above_its_floor",
    "test_interruption.py::test_the_device_is_the_same",
    "test_interruption.py::test_without_a_checkpoint_it_starts_from_the_beginning",
    "test_lockstep.py::test_otherwise_it_is_equal_to_rounding[adag",
    "test_lockstep.py::test_otherwise_it_is_equal_to_rounding[adamax",
    "test_lockstep.py::test_otherwise_it_is_equal_to_rounding[adamw",
    "test_lockstep.py::test_otherwise_it_is_equal_to_rounding[nadam",
    "test_lockstep.py::test_sgd_is_bitwise_where_the_slope_is_a_power_of_two[{'momentum': 0.9, 'nesterov'",
    "test_lockstep.py::test_sgd_is_bitwise_where_the_slope_is_a_power_of_two[{'weight_decay': 0.3}-0.25",
    "test_lockstep.py::test_the_adam_family_is_bitwise_with_eps_scaled_and_not_without[adamax",
    "test_lockstep.py::test_the_adam_family_is_bitwise_with_eps_scaled_and_not_without[adamw",
    "test_lockstep.py::test_the_adam_family_is_bitwise_with_eps_scaled_and_not_without[nadam",
    "test_modules.py::test_interrupted_it_goes_on_to_the_same_bits[{'beta'",
    "test_networks.py::test_a_run_reconstructs_as_its_model_did[conv-heteroscedastic",
    "test_networks.py::test_training_is_timed_beside_its_products",
    "test_noises.py::test_any_family_by_the_network[discretized",
    "test_noises.py::test_every_family_with_a_sigma_or_a_scale[discretized-gaussian",
    "test_noises.py::test_every_family_with_a_sigma_or_a_scale[discretized-logistic",
    "test_noises.py::test_every_family_with_a_sigma_or_a_scale[generalized",
    "test_noises.py::test_every_family_with_a_sigma_or_a_scale[huber",
    "test_noises.py::test_known_noises_are_found",
    "test_optimum.py::test_a_sweep_is_judged",
    "test_optimum.py::test_close_eigenvalues_and_still_pixels_take_few_rounds",
    "test_optimum.py::test_lbfgs_reaches_it[cpu-1.2",
    "test_optimum.py::test_lbfgs_reaches_it[cpu-9.0",
    "test_optimum.py::test_on_the_command_line",
    "test_optimum.py::test_training_with_samples_comes_near",
    "test_options.py::test_an_option_is_no_empty_word[bench",
    "test_options.py::test_an_option_is_no_empty_word[train",
    "test_options.py::test_an_option_that_is_no_number_is_refused[bench",
    "test_options.py::test_an_option_that_is_no_number_is_refused[calibrate",
    "test_options.py::test_an_option_that_is_no_number_is_refused[train",
    "test_processes.py::test_grey_levels_that_one_process_meets_are_so_for_all",
    "test_processes.py::test_one_that_dies_is_named_and_nobody_waits",
    "test_regression.py::test_a_few_hundred_rows_are_fitted_with_the_defaults",
    "test_regression.py::test_any_likelihood_of_the_registry[negative-binomial]",
    "test_regression.py::test_linear_regression_reaches_least_squares[optimal]",
    "test_regression.py::test_the_best_sigma_is_the_rmse_and_the_nll_follows[optimal]",
    "test_runs.py::test_every_kind_of_decoder_is_compared_with_its_own_likelihood[discretized",
    "test_runs.py::test_every_kind_of_decoder_is_compared_with_its_own_likelihood[negative-binomial",
    "test_sources.py::test_no_damage_ends_in_anything_but_numbers_or_a_sentence[compressed]",
    "test_sources.py::test_no_damage_ends_in_anything_but_numbers_or_a_sentence[npz]",
    "test_streaming.py::test_ctrl_c_prints_what_was_seen",
    "test_streaming.py::test_neither_chunks_nor_pieces_nor_threads_show",
    "test_sums.py::test_a_comparison_does_not_depend_on_its_chunks[1-binomial",
    "test_sums.py::test_a_comparison_does_not_depend_on_its_chunks[1-continuous",
    "test_sums.py::test_a_comparison_does_not_depend_on_its_chunks[1-discretized",
    "test_sums.py::test_a_comparison_does_not_depend_on_its_chunks[1-negative",
    "test_sums.py::test_a_comparison_does_not_depend_on_its_chunks[1-von-mises",
    "test_sums.py::test_a_comparison_does_not_depend_on_its_chunks[7-discretized-",
    "test_sums.py::test_a_comparison_does_not_depend_on_its_chunks[7-negative",
    "test_sums.py::test_sums_do_not_depend_on_where_the_data_are_cut[discretized-logistic-mixture",
    "test_sums.py::test_the_compiler_takes_a_look_whole[categorical",
    "test_sums.py::test_the_compiler_takes_a_look_whole[hetero",
    "test_sums.py::test_the_compiler_takes_a_look_whole[student",
    "test_surroundings.py::test_a_result_is_the_same_in_any_state_and_the_state_stays[audit-a",
    "test_surroundings.py::test_a_result_is_the_same_in_any_state_and_the_state_stays[audit-b",
    "test_surroundings.py::test_a_result_is_the_same_in_any_state_and_the_state_stays[audit-d",
    "test_surroundings.py::test_a_result_is_the_same_in_any_state_and_the_state_stays[audit-e",
    "test_surroundings.py::test_a_result_is_the_same_in_any_state_and_the_state_stays[audit-i",
    "test_surroundings.py::test_a_result_is_the_same_in_any_state_and_the_state_stays[audit-m",
    "test_surroundings.py::test_a_result_is_the_same_in_any_state_and_the_state_stays[audit-p",
    "test_surroundings.py::test_a_result_is_the_same_in_any_state_and_the_state_stays[audit-s",
    "test_surroundings.py::test_a_result_is_the_same_in_any_state_and_the_state_stays[audit-t",
    "test_surroundings.py::test_a_result_is_the_same_in_any_state_and_the_state_stays[audit-w",
    "test_surroundings.py::test_a_result_is_the_same_in_any_state_and_the_state_stays[calibrate-a",
    "test_surroundings.py::test_a_result_is_the_same_in_any_state_and_the_state_stays[calibrate-b",
    "test_surroundings.py::test_a_result_is_the_same_in_any_state_and_the_state_stays[calibrate-d",
    "test_surroundings.py::test_a_result_is_the_same_in_any_state_and_the_state_stays[calibrate-e",
    "test_surroundings.py::test_a_result_is_the_same_in_any_state_and_the_state_stays[calibrate-i",
    "test_surroundings.py::test_a_result_is_the_same_in_any_state_and_the_state_stays[calibrate-p",
    "test_surroundings.py::test_a_result_is_the_same_in_any_state_and_the_state_stays[calibrate-s",
    "test_surroundings.py::test_a_result_is_the_same_in_any_state_and_the_state_stays[calibrate-t",
    "test_surroundings.py::test_a_result_is_the_same_in_any_state_and_the_state_stays[calibrate-w",
    "test_surroundings.py::test_a_result_is_the_same_in_any_state_and_the_state_stays[derive-a",
    "test_surroundings.py::test_a_result_is_the_same_in_any_state_and_the_state_stays[derive-b",
    "test_surroundings.py::test_a_result_is_the_same_in_any_state_and_the_state_stays[derive-d",
    "test_surroundings.py::test_a_result_is_the_same_in_any_state_and_the_state_stays[derive-e",
    "test_surroundings.py::test_a_result_is_the_same_in_any_state_and_the_state_stays[derive-i",
    "test_surroundings.py::test_a_result_is_the_same_in_any_state_and_the_state_stays[derive-m",
    "test_surroundings.py::test_a_result_is_the_same_in_any_state_and_the_state_stays[derive-p",
    "test_surroundings.py::test_a_result_is_the_same_in_any_state_and_the_state_stays[derive-s",
    "test_surroundings.py::test_a_result_is_the_same_in_any_state_and_the_state_stays[derive-t",
    "test_surroundings.py::test_a_result_is_the_same_in_any_state_and_the_state_stays[derive-w",
    "test_tables.py::test_damage_ends_in_numbers_or_a_sentence",
    "test_tables.py::test_mnist_as_a_table_of_images",
    "test_trained_losses.py::test_under_the_faithful_loss_the_mean_learns_as_under_half_the_squared_error[sgd",
    "test_training.py::test_a_default_run_does_not_collapse",
    "test_training.py::test_ctrl_c_keeps_the_metrics",
    "test_training.py::test_every_likelihood_of_the_registry_is_trained[discretized-gaussian]",
    "test_training.py::test_every_likelihood_of_the_registry_is_trained[discretized-logistic-mixture",
    "test_training.py::test_every_likelihood_of_the_registry_is_trained[negative-binomial",
    "test_training.py::test_every_number_of_a_noise_is_learned[asymmetric",
    "test_training.py::test_every_number_of_a_noise_is_learned[generalized",
    "test_training.py::test_every_number_of_a_noise_is_learned[huber]",
    "test_training.py::test_every_number_of_a_noise_is_learned[hyperbolic",
    "test_training.py::test_every_number_of_a_noise_is_learned[logistic",
    "test_training.py::test_every_number_of_a_noise_is_learned[student",
    "test_training.py::test_free_bits_cost_nothing_and_a_warmup_begins_at_0",
    "test_verdicts.py::test_no_likelihood_is_no_pass[(1 - torch.exp",
)


def pytest_collection_finish() -> None:
    """What has been imported and collected stays: it is not looked through again."""
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)  # what the tests leave is looked through seldom
    gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is slow."""
    for item in items:
        if (item.path.name + item.nodeid[item.nodeid.find("::") :]).startswith(SLOW):
            item.add_marker(pytest.mark.slow)
