"""The released checkpoint's tensor names and ours.

Pure functions of state dicts; no model is imported.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

_RENAMES = (
    (r"^vision_encoder\.embeddings\.patch_embedding\.", "encoder.network.patch_embed.proj."),
    (r"^vision_encoder\.embeddings\.position_embedding\.weight$", "encoder.network.pos_embed"),
    (r"^vision_encoder\.encoder\.layers\.", "encoder.network.blocks."),
    (r"^(encoder\.network\.blocks\.\d+)\.layer_norm", r"\1.norm"),
    (r"^(encoder\.network\.blocks\.\d+)\.self_attn\.out_proj\.", r"\1.attn.proj."),
    (r"^(encoder\.network\.blocks\.\d+)\.self_attn\.", r"\1.attn."),
    (r"^vision_encoder\.post_layernorm\.", "encoder.network.norm."),
    (r"^vision_encoder\.head\.probe$", "encoder.network.attn_pool.latent"),
    (r"^vision_encoder\.head\.attention\.in_proj_", "encoder.network.attn_pool.in_proj_"),
    (r"^vision_encoder\.head\.attention\.out_proj\.", "encoder.network.attn_pool.proj."),
    (r"^vision_encoder\.head\.layernorm\.", "encoder.network.attn_pool.norm."),
    (r"^vision_encoder\.head\.", "encoder.network.attn_pool."),
    (r"^vl_self_attention_model\.transformer_blocks\.", "mixer.blocks."),
    (r"^(mixer\.blocks\.\d+)\.norm1\.", r"\1.attention_norm."),
    (r"^(mixer\.blocks\.\d+)\.norm3\.", r"\1.feed_forward_norm."),
    (r"^model\.timestep_encoder\.timestep_embedder\.linear_1\.", "velocity.dit.time_embedding.0."),
    (r"^model\.timestep_encoder\.timestep_embedder\.linear_2\.", "velocity.dit.time_embedding.2."),
    (r"^model\.transformer_blocks\.(\d+)\.norm1\.linear\.", r"velocity.dit.blocks.\1.modulation."),
    (r"^model\.transformer_blocks\.", "velocity.dit.blocks."),
    (r"^model\.proj_out_1\.", "velocity.dit.output_modulation."),
    (r"^model\.proj_out_2\.", "velocity.dit.output."),
    (r"\.attn1\.to_q\.", ".attention.query."),
    (r"\.attn1\.to_k\.", ".attention.key."),
    (r"\.attn1\.to_v\.", ".attention.value."),
    (r"\.attn1\.to_out\.0\.", ".attention.output."),
    (r"\.ff\.net\.0\.proj\.", ".feed_forward.0."),
    (r"\.ff\.net\.2\.", ".feed_forward.3."),
    (r"^position_embedding\.weight$", "velocity.dit.position_embedding"),
    (r"^action_encoder\.W1\.", "velocity.action_encoder.input."),
    (r"^action_encoder\.W2\.", "velocity.action_encoder.hidden."),
    (r"^action_encoder\.W3\.", "velocity.action_encoder.output."),
    (r"^action_decoder\.layer1\.", "velocity.action_decoder.0."),
    (r"^action_decoder\.layer2\.", "velocity.action_decoder.2."),
    (r"\.W$", ".weight"),
    (r"\.b$", ".bias"),
)  # fmt: skip


def policy_state_from_ng(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of a released checkpoint's `model` to those of `NitroGen`.

    Besides the names: timm joins query, key and value; the released action layers are tables of
    transposed matrices with one row; its last modulation is shift and scale, ours scale and shift.
    """
    renamed = {_rename(name): tensor for name, tensor in state.items()}
    ours: dict[str, Tensor] = {}
    for name, tensor in renamed.items():
        if match := re.fullmatch(r"(.*\.attn)\.q_proj\.(weight|bias)", name):
            parts = [renamed[f"{match[1]}.{part}_proj.{match[2]}"] for part in "qkv"]
            ours[f"{match[1]}.qkv.{match[2]}"] = torch.cat(parts)
        elif match := re.fullmatch(r"(.*\.attn_pool)\.in_proj_(weight|bias)", name):
            query, key, value = tensor.chunk(3)
            ours[f"{match[1]}.q.{match[2]}"] = query
            ours[f"{match[1]}.kv.{match[2]}"] = torch.cat([key, value])
        elif name.startswith(("velocity.action_encoder.", "velocity.action_decoder.")):
            ours[name] = tensor[0].mT if name.endswith("weight") else tensor[0]
        elif name.startswith("velocity.dit.output_modulation."):
            shift, scale = tensor.chunk(2)
            ours[name] = torch.cat([scale, shift])
        elif name == "encoder.network.pos_embed":
            ours[name] = tensor[None]
        elif not re.search(r"\.attn\.[kv]_proj\.", name):
            ours[name] = tensor
    return ours


def _rename(name: str) -> str:
    for pattern, replacement in _RENAMES:
        name = re.sub(pattern, replacement, name)
    return name
