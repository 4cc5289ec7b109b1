"""A converted text tower says what open_clip says."""

from __future__ import annotations

import pytest
import torch

from brainenc.core.types import DataError
from brainenc.nn.torchvision_shim import ensure_torchvision
from brainenc.pocket.text_tower import convert_text_tower

N_WORDS, CONTEXT = 50, 12


def tiny_clip(quick_gelu: bool = False, scale: float = 4.0):
    """An open_clip model whose weights are large enough that a wrong activation or cut would show."""
    ensure_torchvision()
    import open_clip

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        clip = open_clip.CLIP(
            embed_dim=24,
            vision_cfg={"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
            text_cfg={"context_length": CONTEXT, "vocab_size": N_WORDS, "width": 32, "heads": 4, "layers": 2},
            quick_gelu=quick_gelu,
        )
        with torch.no_grad():
            for parameter in clip.transformer.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter)).mul_(scale if parameter.ndim == 1 else 1.0)
    return clip.eval()


def texts(n_texts: int = 5) -> torch.Tensor:
    """Token numbers (n_texts, CONTEXT): begin, words, end, padding."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.zeros(n_texts, CONTEXT, dtype=torch.long)
    for i in range(n_texts):
        n_words = 1 + 2 * i
        tokens[i, 0] = N_WORDS - 2
        tokens[i, 1 : 1 + n_words] = torch.randint(1, N_WORDS - 2, (n_words,), generator=generator)
        tokens[i, 1 + n_words] = N_WORDS - 1
    return tokens


@pytest.mark.parametrize("quick_gelu", [False, True])
def test_the_converted_tower_gives_the_same_embedding_and_the_same_states(quick_gelu):
    clip, tokens, states = tiny_clip(quick_gelu), texts(), []
    hook = clip.ln_final.register_forward_hook(lambda _module, _inputs, output: states.append(output))
    with torch.no_grad():
        wanted = clip.encode_text(tokens)
        hook.remove()
        came = convert_text_tower(clip, N_WORDS - 2, N_WORDS - 1)(tokens)
        embedding = came.pooler_output @ clip.text_projection
    assert (embedding - wanted).abs().max() < 1e-5
    assert (came.last_hidden_state - states[0]).abs().max() < 1e-5
    assert wanted.std() > 1e-2


def test_it_comes_back_from_its_folder(tmp_path):
    from transformers import CLIPTextModel

    tower = convert_text_tower(tiny_clip(), N_WORDS - 2, N_WORDS - 1)
    tower.save_pretrained(tmp_path)
    again = CLIPTextModel.from_pretrained(tmp_path, local_files_only=True).eval()
    with torch.no_grad():
        assert torch.equal(again(texts()).last_hidden_state, tower(texts()).last_hidden_state)


def test_swapping_query_and_key_is_seen():
    """The broken twin: the comparison above would catch a wrong cut."""
    clip = tiny_clip()
    tower = convert_text_tower(clip, N_WORDS - 2, N_WORDS - 1)
    attention = [part for name, part in tower.named_modules() if name.endswith("self_attn")][0]
    attention.q_proj, attention.v_proj = attention.v_proj, attention.q_proj
    with torch.no_grad():
        wrong = tower(texts()).pooler_output @ clip.text_projection
        assert (wrong - clip.encode_text(texts())).abs().max() > 1e-3


def test_an_end_mark_that_is_not_last_is_refused():
    with pytest.raises(DataError, match="wanted the last one, 49"):
        convert_text_tower(tiny_clip(), 1, 2)
    with pytest.raises(DataError, match="wanted open_clip's own transformer"):
        convert_text_tower(torch.nn.Linear(2, 2), 1, 2)
