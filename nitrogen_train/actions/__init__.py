"""Define controllers: named controls, their order and their ranges."""

from nitrogen_train.actions.space import GAMEPAD as GAMEPAD
from nitrogen_train.actions.space import ActionRows as ActionRows
from nitrogen_train.actions.space import ActionSpace as ActionSpace
from nitrogen_train.actions.space import Controls as Controls
from nitrogen_train.actions.space import get_action_space as get_action_space
