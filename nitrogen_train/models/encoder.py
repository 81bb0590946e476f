"""Wrap any timm network as the vision encoder: frames in, visual tokens out."""

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from timm.layers.activations import GELUTanh
from torch import Tensor, nn

from nitrogen_train.pretrained.siglip import measure_timm_tower, read_siglip_folder

_NOT_ARCHITECTURE = {
    "cache_dir", "checkpoint_path", "features_only", "model_name", "num_classes", "pretrained",
    "pretrained_cfg", "pretrained_cfg_overlay", "pretrained_strict",
}  # fmt: skip
# What timm raises for sizes that do not go together.
_UNBUILDABLE = (
    ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError,
    ValueError,
)  # fmt: skip


class VisionEncoder(nn.Module):
    """Turns each frame into a row of visual tokens.

    A vision transformer gives its patch tokens after its last norm, prefix tokens dropped. A
    convolutional network gives one token per cell of its last map, and learns where each cell is,
    since its features look the same wherever a thing appears; a norm takes the transformer's last
    one's place. Pixels are normalized with the mean and deviation that timm names for the network.
    """

    # timm's networks share methods, but no class.
    network: Any
    _pixel_scale: Tensor
    _pixel_shift: Tensor

    def __init__(
        self,
        *,
        name: str,
        image_size: int,
        width: int,
        num_frames: int = 1,
        pretrained: bool | str = False,
        options: dict[str, Any] | None = None,
    ) -> None:
        """Build the network.

        Args:
            name: timm's name of the network, with the tag of its weights.
            image_size: Height and width of a frame in pixels.
            width: Size of a token; a linear map leads to it where the network's features differ.
            num_frames: Observed frames.
            pretrained: What to start from: True is timm's weights, which are downloaded; a path is
                the folder of a SigLIP tower from Hugging Face; False is nothing.
            options: More arguments of the network's constructor.

        Raises:
            ValueError: If timm has no such network or cannot build it, an option is not about its
                architecture, or the weights of a folder do not fit.
            OSError: If timm's weights cannot be downloaded.
        """
        super().__init__()
        if num_frames < 1:
            raise ValueError(f"num_frames must be at least 1, got {num_frames}")
        options = dict(options or {})
        self.settings = {
            "name": name,
            "image_size": image_size,
            "width": width,
            "num_frames": num_frames,
            "options": options,
        }
        self.image_size = image_size
        self.width = width
        self.num_frames = num_frames

        arguments = _timm_arguments(name, image_size=image_size, options=options)
        self._layout = _find_layout(arguments, image_size=image_size)
        self.network = _build_network(arguments, pretrained=pretrained is True)
        if _is_siglip(name):
            # timm's default differs between the sizes of SigLIP: what is saved says which it is.
            options.setdefault("act_layer", _find_activation(self.network))
        if isinstance(pretrained, str):
            _load_siglip(self.network, Path(pretrained), name=name)
        for parameter_name in self._layout.unused:
            # Distributed training waits for the gradient of every parameter that may have one.
            self.network.get_parameter(parameter_name).requires_grad = False

        feature_dim = self._layout.feature_dim
        self.projection = nn.Linear(feature_dim, width) if feature_dim != width else nn.Identity()
        # A transformer's tokens come out of a norm, a convolution's do not: without one they are
        # too faint beside the actions, and a policy takes several times as long to see them.
        self.norm = nn.LayerNorm(width) if self._layout.is_map else nn.Identity()
        self.position_embedding = None
        if self._layout.is_map:
            # Faster than the default in every convolution, on CPUs and GPUs.
            self.network.to(memory_format=torch.channels_last)
            self.position_embedding = _embedding(self._layout.num_tokens, width, std=0.5)
        self.frame_embedding = (
            _embedding(num_frames, 1, width, std=0.02) if num_frames > 1 else None
        )

        mean, std = (torch.tensor(self.network.pretrained_cfg[key]) for key in ("mean", "std"))
        self.register_buffer("_pixel_scale", (1 / (255 * std))[:, None, None], persistent=False)
        self.register_buffer("_pixel_shift", (-mean / std)[:, None, None], persistent=False)

    @property
    def num_tokens(self) -> int:
        """Return tokens of one frame."""
        return self._layout.num_tokens

    def checkpoint_activations(self) -> None:
        """Keep of each block only its input for the backward pass, which computes the rest.

        Raises:
            ValueError: If timm's network cannot do it.
        """
        try:
            self.network.set_grad_checkpointing()
        except AssertionError as error:
            raise ValueError(
                f"timm's {self.settings['name']} cannot compute activations again: "
                "set activation_checkpointing=false"
            ) from error

    def forward(self, frames: UInt8[Tensor, "b f 3 h w"]) -> Float[Tensor, "b n d"]:
        """Encode frames.

        Args:
            frames: RGB, oldest first.

        Returns:
            The tokens of every frame, frame by frame.

        Raises:
            ValueError: If the number or the size of the frames is not the encoder's.
        """
        expected = (self.num_frames, 3, self.image_size, self.image_size)
        if frames.shape[1:] != expected:
            raise ValueError(
                f"this policy expects frames of (f, 3, h, w) = {expected}, "
                f"got {tuple(frames.shape[1:])}"
            )
        pixels = frames.flatten(0, 1) * self._pixel_scale + self._pixel_shift
        if self._layout.is_map:
            pixels = pixels.contiguous(memory_format=torch.channels_last)
        features = self.network.forward_features(pixels)
        tokens = self.norm(self.projection(_to_tokens(features, self._layout)))
        if self.position_embedding is not None:
            tokens = tokens + self.position_embedding
        tokens = rearrange(tokens, "(b f) n d -> b f n d", f=self.num_frames)
        if self.frame_embedding is not None:
            tokens = tokens + self.frame_embedding
        return tokens.flatten(1, 2)


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """The layout of the features that a timm network returns for one frame."""

    num_prefix_tokens: int
    axes: str
    """Axes of the features: "b n d", or with the picture's two axes y and x."""
    num_tokens: int
    feature_dim: int
    unused: tuple[str, ...]
    """Parameters that the tokens do not depend on, such as those of a pooling head."""

    @property
    def is_map(self) -> bool:
        return "y" in self.axes


def _timm_arguments(name: str, *, image_size: int, options: dict[str, Any]) -> dict[str, Any]:
    if forbidden := sorted(_NOT_ARCHITECTURE & options.keys()):
        raise ValueError(
            f"encoder options describe the network, not its weights: remove {', '.join(forbidden)}"
        )
    # A name with a colon would make timm look outside itself.
    if ":" in name or not timm.is_model(name):
        close = ", ".join(difflib.get_close_matches(name, timm.list_models(), n=3))
        hint = f"did you mean {close}?" if close else "timm.list_models() lists them"
        raise ValueError(f"timm has no network {name!r}; {hint}")
    cfg = timm.get_pretrained_cfg(name)
    if cfg is not None and cfg.fixed_input_size:
        options = {"img_size": image_size, **options}
    return {"model_name": name, "num_classes": 0, **options}


def _build_network(arguments: dict[str, Any], *, pretrained: bool) -> Any:  # noqa: ANN401 - as above
    try:
        return timm.create_model(**arguments, pretrained=pretrained)
    except (OSError, RuntimeError) as error:
        if not pretrained:
            raise
        raise OSError(
            f"cannot load timm's weights of {arguments['model_name']}: "
            f"{str(error).splitlines()[0]} (encoder.pretrained may also be false, or the folder "
            "of a SigLIP tower)"
        ) from error


def _find_layout(arguments: dict[str, Any], *, image_size: int) -> _Layout:
    """Run the network without data, to see what it returns and which parameters take part.

    Raises:
        ValueError: If timm cannot build or run it.
    """
    with torch.device("meta"), torch.enable_grad():
        try:
            network: Any = timm.create_model(**arguments)
            features = network.forward_features(torch.empty(1, 3, image_size, image_size))
        except _UNBUILDABLE as error:
            raise ValueError(
                f"timm cannot build {arguments['model_name']} with image_size={image_size} and the "
                f"options given: {error!r}"
            ) from error
        parameters = dict(network.named_parameters())
        gradients = torch.autograd.grad(
            features.sum(), tuple(parameters.values()), allow_unused=True
        )
    num_prefix_tokens = getattr(network, "num_prefix_tokens", 0)
    axes = "b n d"
    if features.ndim == 4:
        axes = "b y x d" if getattr(network, "output_fmt", "NCHW") == "NHWC" else "b d y x"
    return _Layout(
        num_prefix_tokens=num_prefix_tokens,
        axes=axes,
        num_tokens=features[0].numel() // network.num_features - num_prefix_tokens,
        feature_dim=network.num_features,
        unused=tuple(
            name for name, gradient in zip(parameters, gradients, strict=True) if gradient is None
        ),
    )


def _is_siglip(name: str) -> bool:
    return name.startswith("vit_") and "_siglip_" in name


def _find_activation(network: Any) -> str:  # noqa: ANN401 - timm's networks share no class
    is_tanh = network.blocks and isinstance(network.blocks[0].mlp.act, GELUTanh)
    return "gelu_tanh" if is_tanh else "gelu"


def _load_siglip(network: Any, folder: Path, *, name: str) -> None:  # noqa: ANN401 - as above
    if not _is_siglip(name):
        raise ValueError(
            f"pretrained={folder}: only timm's networks vit_*_siglip_* can load the folder of a "
            f"SigLIP tower, not {name!r}"
        )
    weights = read_siglip_folder(
        folder,
        sizes=measure_timm_tower(network.state_dict(), prefix="", where=name),
        num_heads=network.blocks[0].attn.num_heads,
        activation=_find_activation(network),
        has_head=network.attn_pool is not None,
    )
    network.load_state_dict(weights)


def _to_tokens(features: Tensor, layout: _Layout) -> Float[Tensor, "b n d"]:
    if layout.is_map:
        return rearrange(features, f"{layout.axes} -> b (y x) d")
    return features[:, layout.num_prefix_tokens :]


def _embedding(*shape: int, std: float) -> nn.Parameter:
    return nn.Parameter(nn.init.normal_(torch.empty(shape), std=std))
