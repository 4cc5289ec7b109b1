"""The text tower of an open_clip model as ``transformers.CLIPTextModel``: the form that diffusers loads.

Both are the causal transformer of CLIP (Radford et al. 2021, arXiv:2103.00020): token and position tables, blocks
``x + attention(norm(x))``, ``x + mlp(norm(x))``, a last norm. open_clip keeps query, key and value in one matrix
``in_proj_weight (3 width, width)`` and pools where the token number is largest; transformers keeps three matrices
and pools at ``eos_token_id``. So the conversion renames and cuts, and computes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brainenc.core.types import DataError

if TYPE_CHECKING:
    import torch


def convert_text_tower(clip: torch.nn.Module, bos_token_id: int, eos_token_id: int, pad_token_id: int = 0) -> Any:
    """Return the text tower of ``clip`` as a ``CLIPTextModel`` in eval mode, float32.

    Its ``last_hidden_state`` (n_texts, n_tokens, width) is what open_clip has after ``ln_final``; its ``pooler_output``
    (n_texts, width) times ``clip.text_projection`` is ``clip.encode_text``.

    Parameters
    ----------
    clip : Module
        An open_clip model with a causal text transformer.
    bos_token_id, eos_token_id, pad_token_id : int
        Of the tokenizer. The last word's mark must have the largest number of all, as open_clip pools there.

    Raises
    ------
    DataError
        The tower is of another kind, or the end mark is not the largest token.
    """
    from transformers import CLIPTextConfig, CLIPTextModel

    tower: Any = getattr(clip, "text", clip)
    if not hasattr(tower, "transformer") or not hasattr(tower.transformer, "resblocks"):
        raise DataError(
            f"The text tower is {type(tower).__name__}, wanted open_clip's own transformer: use a model without "
            "'hf_model_name' in its text_cfg."
        )
    n_words, width = tower.token_embedding.weight.shape
    if eos_token_id != n_words - 1:
        raise DataError(
            f"The end mark is token {eos_token_id} of {n_words}, wanted the last one, {n_words - 1}: train the "
            "tokenizer with the end mark added last."
        )
    blocks = list(tower.transformer.resblocks)
    config = CLIPTextConfig(
        vocab_size=n_words,
        hidden_size=width,
        intermediate_size=blocks[0].mlp.c_fc.weight.shape[0],
        num_hidden_layers=len(blocks),
        num_attention_heads=blocks[0].attn.num_heads,
        max_position_embeddings=len(tower.positional_embedding),
        hidden_act="gelu" if type(blocks[0].mlp.gelu).__name__ == "GELU" else "quick_gelu",
        projection_dim=_projection_width(tower),
        bos_token_id=bos_token_id,
        eos_token_id=eos_token_id,
        pad_token_id=pad_token_id,
    )
    model: Any = CLIPTextModel(config)
    wanted = set(model.state_dict())
    prefix = "text_model." if any(name.startswith("text_model.") for name in wanted) else ""
    renamed = {prefix + name: value.detach().float().clone() for name, value in _renamed(tower, blocks).items()}
    missing = {name for name in wanted - set(renamed) if not name.endswith("position_ids")}
    if missing or set(renamed) - wanted:
        odd = sorted(missing | (set(renamed) - wanted))[0]
        raise DataError(f"The text tower does not fit CLIPTextModel at {odd!r}: use a tower without extra parts.")
    model.load_state_dict(renamed, strict=False)
    return model.eval().requires_grad_(False)


def _projection_width(tower: Any) -> int:
    projection = tower.text_projection
    return int(projection.shape[1] if hasattr(projection, "shape") else projection.out_features)


def _renamed(tower: Any, blocks: list[Any]) -> dict[str, torch.Tensor]:
    """Weights of the tower under the names of ``CLIPTextModel``."""
    weights = {
        "embeddings.token_embedding.weight": tower.token_embedding.weight,
        "embeddings.position_embedding.weight": tower.positional_embedding,
        "final_layer_norm.weight": tower.ln_final.weight,
        "final_layer_norm.bias": tower.ln_final.bias,
    }
    for i, block in enumerate(blocks):
        layer = f"encoder.layers.{i}."
        cut = zip("qkv", block.attn.in_proj_weight.chunk(3), block.attn.in_proj_bias.chunk(3), strict=True)
        for letter, weight, bias in cut:
            weights[f"{layer}self_attn.{letter}_proj.weight"] = weight
            weights[f"{layer}self_attn.{letter}_proj.bias"] = bias
        parts = {
            "self_attn.out_proj": block.attn.out_proj,
            "layer_norm1": block.ln_1,
            "layer_norm2": block.ln_2,
            "mlp.fc1": block.mlp.c_fc,
            "mlp.fc2": block.mlp.c_proj,
        }
        for name, part in parts.items():
            weights[f"{layer}{name}.weight"], weights[f"{layer}{name}.bias"] = part.weight, part.bias
    return weights
