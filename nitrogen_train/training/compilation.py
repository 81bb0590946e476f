"""torch.compile, part by part: the names of weights stay as they are."""

from torch import nn

from nitrogen_train.models.dit import DiT
from nitrogen_train.models.encoder import VisionEncoder
from nitrogen_train.models.mixer import Mixer


def compile_parts(policy: nn.Module) -> None:
    """Compile a policy's encoder, mixer and diffusion transformer in place, at their first call."""
    for part in policy.modules():
        if isinstance(part, VisionEncoder | Mixer | DiT):
            part.compile()
