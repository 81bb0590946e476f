"""Define what all our policies share: how they see, which game they are told, how they are saved.

frames ─► VisionEncoder ─► + game ─► Mixer ─► tokens

A policy is saved as a folder, and loaded from a folder, the hub or an ng.pt.
"""

import abc
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from einops import repeat
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor, nn

from nitrogen_train import flow
from nitrogen_train.actions import Controls, get_action_space
from nitrogen_train.actions.space import count_rows_per_action
from nitrogen_train.batch import PolicyBatch
from nitrogen_train.models.dit import Mixer, Tokens
from nitrogen_train.models.encoder import VisionEncoder
from nitrogen_train.models.policy import ActionChunk, LossOutput
from nitrogen_train.picture import read_picture
from nitrogen_train.pretrained.hub import push_files
from nitrogen_train.pretrained.places import (
    CONFIG,
    FORMAT_VERSION,
    READABLE_VERSIONS,
    WEIGHTS,
    PolicyConfig,
    Usage,
)
from nitrogen_train.pretrained.policy_folder import PolicyFiles, write_policy_folder
from nitrogen_train.pretrained.read_policy import read_policy

if TYPE_CHECKING:
    from nitrogen_train.models.playing import Lane

VisualPolicyT = TypeVar("VisualPolicyT", bound="VisualPolicy")


class VisualPolicy(nn.Module, abc.ABC):
    """A network that learns actions from what is on the screen; abstract behind its tokens.

    Built with games, a learned token for the game stands before the visual tokens. To add a kind of
    policy: `compute_loss`, `generate_actions`, `_own_settings` and `_build_own`, and a
    `conf/model/NAME.yaml` that names the class.
    """

    ng_header: dict[str, Any] | None = None
    """Header of the ng.pt that the policy comes from: all but its weights."""
    usage: Usage = Usage()
    """Usage that the policy was trained for, as far as it is known; saved with it."""
    _weight: Tensor | None
    _lane: "Lane | None" = None
    """The episode that `act` plays."""

    def __init__(
        self,
        *,
        encoder: VisionEncoder,
        mixer: Mixer,
        action_space: str,
        action_horizon: int,
        games: Sequence[str] = (),
        control_weights: Mapping[str, float] | None = None,
    ) -> None:
        """Join the parts.

        Args:
            encoder: Frames to tokens.
            mixer: Tokens to tokens.
            action_space: Name of the controller layout.
            action_horizon: Rows of a chunk.
            games: Games that the policy is told apart, by game id from 1.
            control_weights: Factors on the loss of controls, by name; others have 1.

        Raises:
            ValueError: If the parts do not fit together.
        """
        super().__init__()
        if encoder.width != mixer.width:
            raise ValueError(
                f"encoder and mixer must have one width, got {encoder.width} and {mixer.width}"
            )
        self.action_space = get_action_space(action_space)
        self.action_horizon = action_horizon
        self.games = tuple(games)
        if isinstance(games, str) or len(set(self.games)) < len(self.games):
            raise ValueError(f"games must be a list of different names, got {games!r}")
        self.encoder = encoder
        self.mixer = mixer
        self.game_embedding = None
        if self.games:
            self.game_embedding = nn.Embedding(1 + len(self.games), encoder.width)
            nn.init.normal_(self.game_embedding.weight, std=0.02)
        self._control_weights = dict(control_weights or {})
        self.register_buffer("_weight", self._weigh_controls(), persistent=False)

    @property
    def num_frames(self) -> int:
        """Return frames that `encode_frames` expects."""
        return self.encoder.num_frames

    @property
    def image_size(self) -> int:
        """Return the height and width of a frame in pixels."""
        return self.encoder.image_size

    def game_id(self, game: str) -> int:
        """Look up a game's id; 0, unconditional, if the policy was built without games.

        Raises:
            ValueError: If the policy knows games, but not this one.
        """
        if not self.games:
            return 0
        if game not in self.games:
            raise ValueError(f"this policy knows the games {', '.join(self.games)}, not {game!r}")
        return 1 + self.games.index(game)

    def encode_frames(
        self,
        frames: UInt8[Tensor, "b f 3 h w"],
        *,
        frame_mask: Bool[Tensor, "b f"] | None = None,
        game_id: Int64[Tensor, " b"] | None = None,
    ) -> Tokens:
        """Look at frames.

        Args:
            frames: RGB, oldest first.
            frame_mask: True where a frame exists; None is everywhere. A single frame always does.
            game_id: Which game is played; 0 or None leaves it open; ignored without games.

        Returns:
            The mixed tokens, the game's first; those of a missing frame are not real.

        Raises:
            TypeError: If the frames are not a tensor of uint8.
        """
        if not isinstance(frames, Tensor) or frames.dtype != torch.uint8:
            got = frames.dtype if isinstance(frames, Tensor) else f"a {type(frames).__name__}"
            raise TypeError(
                f"expected frames as a torch tensor of uint8 from 0 to 255, got {got}: the policy "
                "normalizes them itself; for one picture of any size there is policy.act(frame)"
            )
        values = self.encoder(frames)
        is_real = None
        if frame_mask is not None and self.num_frames > 1:
            is_real = repeat(frame_mask, "b f -> b (f n)", n=self.encoder.num_tokens)
        if self.game_embedding is not None:
            if game_id is None:
                game_id = torch.zeros(len(frames), dtype=torch.int64, device=frames.device)
            values = torch.cat([self.game_embedding(game_id)[:, None], values], dim=1)
            if is_real is not None:
                is_real = nn.functional.pad(is_real, (1, 0), value=True)
        return Tokens(values=self.mixer(values, is_real), is_real=is_real)

    @abc.abstractmethod
    def compute_loss(
        self,
        batch: PolicyBatch,
        *,
        generator: torch.Generator | None = None,
        time: Float[Tensor, " b"] | Float[Tensor, "b t"] | None = None,
        noise: Float[Tensor, "b t a"] | None = None,
    ) -> LossOutput:
        """Compare predictions with the recorded actions.

        Args:
            batch: What was observed and done.
            generator: Source of what is random; None draws it from each sample's own seed.
            time: Path times, instead of random ones.
            noise: Noise x_0, instead of random noise.
        """

    @abc.abstractmethod
    def generate_actions(
        self,
        tokens: Tokens,
        *,
        unconditional_tokens: Tokens | None = None,
        guidance_scale: float = 1.0,
        committed_actions: Float[Tensor, "b k a"] | None = None,
        inpainting: flow.Inpainting | None = None,
        noise: Float[Tensor, "b t a"] | None = None,
        generator: torch.Generator | None = None,
        num_sampling_steps: int = 16,
    ) -> ActionChunk:
        """Choose what to do next.

        Args:
            tokens: From `encode_frames`.
            unconditional_tokens: The same frames encoded with game id 0, for guidance.
            guidance_scale: 0 ignores the condition, 1 follows it, more exaggerates it.
            committed_actions: First rows of the chunk, already decided, in model space.
            inpainting: Actions to agree with, for policies that were not trained to continue.
            noise: x_0; drawn if None.
            generator: Source of the noise; None is torch's global one.
            num_sampling_steps: Steps of the solver.
        """

    def reset(
        self,
        *,
        game: str | None = None,
        seed: int = 0,
        fps: float | None = None,
        execution_horizon: int = 1,
        num_sampling_steps: int | None = None,
        guidance_scale: float = 1.0,
    ) -> None:
        """Begin an episode: forget the pictures and the plan of the one before.

        Args:
            game: What is played; may be left out by a policy that knows one game or none.
            seed: Of the episode's noise: the same pictures then lead to the same actions.
            fps: Pictures per second that `act` will get; None is as in training.
            execution_horizon: Rows that are acted of each predicted chunk, from its first on: 1
                looks at every picture anew, more is faster.
            num_sampling_steps: Solver steps per chunk; None is as in training, else 16.
            guidance_scale: 1 follows the game's condition, more exaggerates it.

        Raises:
            ValueError: If the policy does not know the game, or the rest does not fit it.
        """
        # It plays a policy, which is this class.
        from nitrogen_train.models.playing import Lane, PlaySettings, SamplingSettings, refuse_rows

        usage = self.usage
        if self.num_frames > 1 and usage.frame_stride is None:
            raise ValueError(
                f"this policy sees {self.num_frames} frames and does not say how far apart: set "
                "policy.usage = Usage(frame_stride=N), from nitrogen_train.pretrained.places"
            )
        steps = usage.num_sampling_steps if num_sampling_steps is None else num_sampling_steps
        settings = PlaySettings(
            execution_horizon=execution_horizon,
            start_row=0,
            frame_stride=usage.frame_stride or 1,
            sampling=SamplingSettings(
                num_sampling_steps=16 if steps is None else steps,
                guidance_scale=guidance_scale,
            ),
            action_hz=usage.action_hz,
            seed=0,
        )
        refuse_rows(self, settings)
        held = 1 if fps is None else count_rows_per_action(fps, usage.action_hz)
        self._lane = Lane(
            self.eval(),
            settings=settings,
            game_id=self._find_game(game),
            episode=seed,
            held=held,
        )

    def act(self, frame: Any) -> Controls:  # noqa: ANN401 - judged by read_picture
        """Look at the next picture of an episode, and choose what to press until the one after it.

        Args:
            frame: What is on the screen, RGB, (height, width, 3) of uint8, numpy's or torch's, of
                any size: it is squashed as in training.

        Returns:
            Every control of the action space by name: buttons True or False, axes in [-1, 1].

        Raises:
            TypeError: If the picture is not of uint8.
            ValueError: If it has another shape, or the policy needs `reset(game=…)` first.
        """
        from nitrogen_train.models.playing import plan_rows

        # A copy: a game may draw the next picture into the same memory.
        picture = read_picture(frame).copy()
        if self._lane is None:
            self.reset()
        lane = self._lane
        assert lane is not None
        lane.observe(picture)
        if not lane.plan:
            plan_rows(self, [lane])
        return lane.plan.popleft()

    def _find_game(self, game: str | None) -> int:
        """Look up a game's id, which need not be said where there is no choice.

        Raises:
            ValueError: If there is one.
        """
        if game is None and len(self.games) > 1:
            raise ValueError(
                f"this policy is told the game: policy.reset(game=…), {' or '.join(self.games)}"
            )
        return self.game_id(self.games[0] if game is None and self.games else game or "")

    @property
    def settings(self) -> dict[str, Any]:
        """Return what `from_settings` needs, as JSON can hold it."""
        space = self.action_space
        return {
            "format_version": FORMAT_VERSION,
            "policy": type(self).__name__,
            "encoder": self.encoder.settings,
            "mixer": self.mixer.settings,
            "action_space": {"name": space.name, "controls": list(space.controls)},
            "action_horizon": self.action_horizon,
            "games": list(self.games),
            "control_weights": self._control_weights,
            **self._own_settings,
        }

    @property
    @abc.abstractmethod
    def _own_settings(self) -> dict[str, Any]:
        """Return what this kind of policy adds to `settings`."""

    @classmethod
    @abc.abstractmethod
    def _build_own(cls, own_settings: dict[str, Any]) -> dict[str, Any]:
        """Turn `_own_settings` into arguments of the constructor."""

    @classmethod
    def from_settings(cls: type[VisualPolicyT], settings: dict[str, Any]) -> VisualPolicyT:
        """Build an untrained policy; settings come from strangers and may name no class.

        Raises:
            ValueError: If they do not describe a policy that this version can build.
        """
        values = dict(settings)
        version, policy = values.pop("format_version", None), values.pop("policy", None)
        if version not in READABLE_VERSIONS:
            raise ValueError(
                f"expected a policy of format_version {' or '.join(map(str, READABLE_VERSIONS))}, "
                f"got {version}; use the nitrogen-train that wrote it"
            )
        if policy != cls.__name__:
            raise ValueError(f"expected a policy of the kind {cls.__name__}, got {policy!r}")
        try:
            space = get_action_space(values["action_space"]["name"])
            if list(space.controls) != values["action_space"]["controls"]:
                has = ", ".join(values["action_space"]["controls"])
                raise ValueError(f"action space {space.name!r} differs from ours: it has {has}")
            common = {
                "encoder": VisionEncoder(**values.pop("encoder"), pretrained=False),
                "mixer": Mixer(**values.pop("mixer")),
                "action_space": values.pop("action_space")["name"],
                "action_horizon": values.pop("action_horizon"),
                "games": values.pop("games"),
                "control_weights": values.pop("control_weights"),
            }
            return cls(**common, **cls._build_own(values))
        except (KeyError, TypeError) as error:
            raise ValueError(f"the settings do not describe a policy: {error!r}") from error

    def _weigh_controls(self) -> Float[Tensor, " a"] | None:
        if not self._control_weights:
            return None
        weight = torch.ones(self.action_space.action_dim)
        for name, factor in self._control_weights.items():
            if not 0 <= factor < math.inf:
                raise ValueError(f"control_weights: {name}={factor} must be finite, at least 0")
            weight[self.action_space.index(name)] = factor
        return weight

    @classmethod
    def from_pretrained(
        cls: type[VisualPolicyT],
        name_or_path: str | Path,
        *,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        vision_num_heads: int | None = None,
        games: Sequence[str] | None = None,
    ) -> VisualPolicyT:
        """Load a policy, in evaluation mode.

        Args:
            name_or_path: A folder that `save_pretrained` wrote, the folder of a run that has ended,
                an ng.pt, a folder that holds one, or `owner/name` on the Hugging Face hub.
            revision: Branch, tag or commit on the hub; None is its main branch.
            cache_dir: The hub's cache; None is its usual place.
            vision_num_heads: Of an ng.pt: attention heads of its encoder, if its name does not
                tell.
            games: Of an ng.pt that tells games apart: their names by game id, from 1.

        Raises:
            FileNotFoundError: If there is no such file, folder or repository.
            ValueError: If what is there is not a policy that this version can read.
        """
        files = read_policy(
            name_or_path,
            revision=revision,
            cache_dir=cache_dir,
            vision_num_heads=vision_num_heads,
            games=games,
        )
        return cls.from_files(files, where=name_or_path)

    @classmethod
    def from_files(
        cls: type[VisualPolicyT], files: PolicyFiles, *, where: str | Path
    ) -> VisualPolicyT:
        """Build the policy that files describe; `where` is what to call them in an error.

        Raises:
            ValueError: If they do not describe a policy of this kind.
        """
        policy = cls.from_settings(files.config.settings)
        try:
            policy.load_state_dict(files.state)
        except RuntimeError as error:
            first_problem = str(error).splitlines()[1].strip()
            raise ValueError(
                f"the weights of {where} do not fit its config.json: {first_problem}"
            ) from error
        policy.ng_header = files.config.ng_header
        policy.usage = files.config.usage
        return policy.eval()

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the policy, whole or not at all; other files in the folder stay."""
        config = PolicyConfig(settings=self.settings, usage=self.usage, ng_header=self.ng_header)
        write_policy_folder(Path(folder), PolicyFiles(config=config, state=self.state_dict()))

    def push_to_hub(self, repo_id: str, *, private: bool = False) -> None:
        """Upload what `save_pretrained` writes to the Hugging Face hub.

        Args:
            repo_id: `owner/name`; created if it does not exist.
            private: Whether a new repository is private.
        """
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "policy"
            self.save_pretrained(folder)
            push_files(repo_id, folder, names=[CONFIG, WEIGHTS], private=private)
