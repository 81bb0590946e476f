"""The mathematics of flow matching: pure functions of tensors, no framework."""

from nitrogen_train.flow.guidance import guide_velocity as guide_velocity
from nitrogen_train.flow.loss import masked_error_sum as masked_error_sum
from nitrogen_train.flow.loss import masked_mean_loss as masked_mean_loss
from nitrogen_train.flow.noise import sample_normal as sample_normal
from nitrogen_train.flow.noise import sample_uniform as sample_uniform
from nitrogen_train.flow.path import PathSample as PathSample
from nitrogen_train.flow.path import sample_path as sample_path
from nitrogen_train.flow.path import velocity_to as velocity_to
from nitrogen_train.flow.solver import euler_times as euler_times
from nitrogen_train.flow.solver import solve_euler as solve_euler
from nitrogen_train.flow.times import ShiftedBeta as ShiftedBeta
from nitrogen_train.flow.times import TimeDistribution as TimeDistribution
from nitrogen_train.flow.times import build_time_distribution as build_time_distribution
