"""Posteriors: parameters, phase diagrams and transition times with honest error bars."""

from rational_icl.posterior.base import Posterior, load_posterior, save_posterior
from rational_icl.posterior.calibration import (
    leave_ends_out,
    leave_one_num_tasks_out,
    leave_one_run_out,
)
from rational_icl.posterior.diagnosis import Diagnosis, diagnose
from rational_icl.posterior.importance import leave_one_run_out_psis
from rational_icl.posterior.sampling import continue_sampling, sample, sample_conditions
from rational_icl.posterior.scores import coverage
from rational_icl.posterior.simulated import simulation_based_calibration

__all__ = [
    "Diagnosis",
    "Posterior",
    "continue_sampling",
    "coverage",
    "diagnose",
    "leave_ends_out",
    "leave_one_num_tasks_out",
    "leave_one_run_out",
    "leave_one_run_out_psis",
    "load_posterior",
    "sample",
    "sample_conditions",
    "save_posterior",
    "simulation_based_calibration",
]
