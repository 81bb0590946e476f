"""Define the mathematics of flow matching: pure functions of tensors, no framework."""

from nitrogen_train.flow.path import ButtonPrediction as ButtonPrediction
from nitrogen_train.flow.path import ErrorKind as ErrorKind
from nitrogen_train.flow.path import Inpainting as Inpainting
from nitrogen_train.flow.path import PathSample as PathSample
from nitrogen_train.flow.path import Prediction as Prediction
from nitrogen_train.flow.path import StickPrediction as StickPrediction
from nitrogen_train.flow.path import guide_velocity as guide_velocity
from nitrogen_train.flow.path import list_sampling_times as list_sampling_times
from nitrogen_train.flow.path import masked_error_sums as masked_error_sums
from nitrogen_train.flow.path import masked_mean_loss as masked_mean_loss
from nitrogen_train.flow.path import sample_normal as sample_normal
from nitrogen_train.flow.path import sample_path as sample_path
from nitrogen_train.flow.path import sample_uniform as sample_uniform
from nitrogen_train.flow.path import solve_flow as solve_flow
from nitrogen_train.flow.path import steer_velocity as steer_velocity
from nitrogen_train.flow.path import velocity_to as velocity_to
from nitrogen_train.flow.times import LogitNormal as LogitNormal
from nitrogen_train.flow.times import ShiftedBeta as ShiftedBeta
from nitrogen_train.flow.times import TimeDistribution as TimeDistribution
from nitrogen_train.flow.times import Uniform as Uniform
from nitrogen_train.flow.times import build_time_distribution as build_time_distribution
