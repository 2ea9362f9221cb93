"""The tails' few rows over many keys: query heads that share keys are rows of them, and no key is copied."""

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from headrank.model import all_heads, read_head_scores
from headrank.model import attention as attention_module
from tests.model.test_readout import prompts_for


def test_no_key_is_copied_for_the_tails(backbone, monkeypatch):
    """Query heads that share keys are rows of one product: transformers' own function, with repeated keys, agrees."""
    calls = []
    monkeypatch.setattr(attention_module, "_few", lambda *_: True)

    def sdpa(q, k, v, *, attn_mask, **options):
        calls.append((q, k, v, attn_mask, options))
        return scaled_dot_product_attention(q, k, v, attn_mask=attn_mask, **options)

    monkeypatch.setattr(attention_module.F, "scaled_dot_product_attention", sdpa)
    with torch.no_grad():
        read_head_scores(backbone, prompts_for(backbone), all_heads(3, 4))
    q, k, v, mask, options = next(call for call in calls if call[3] is not None)
    assert q.shape[1] == k.shape[1] == v.shape[1] == 2
    B, _, rows, D = q.shape
    assert rows == mask.shape[2] > 2
    got = scaled_dot_product_attention(q, k, v, attn_mask=mask, **options).view(B, 4, rows // 2, D).transpose(1, 2)
    module = backbone.model.layers[0].self_attn
    expected, _ = sdpa_attention_forward(
        module, q.reshape(B, 4, rows // 2, D), k, v, mask[:, :, : rows // 2], scaling=options["scale"]
    )
    torch.testing.assert_close(got, expected, atol=1e-6, rtol=1e-5)


def test_kernels_may_lay_their_output_out_as_they_like(backbone, monkeypatch):
    """On a GPU the memory-efficient kernel's output lies token by token, not head by head."""
    prompts = prompts_for(backbone)
    monkeypatch.setattr(attention_module, "_few", lambda *_: True)

    def token_by_token(*args, **options):
        return scaled_dot_product_attention(*args, **options).transpose(1, 2).contiguous().transpose(1, 2)

    with torch.no_grad():
        expected = read_head_scores(backbone, prompts, all_heads(3, 4))
        monkeypatch.setattr(attention_module.F, "scaled_dot_product_attention", token_by_token)
        got = read_head_scores(backbone, prompts, all_heads(3, 4))
    for a, b in zip(expected, got, strict=True):
        torch.testing.assert_close(b.query, a.query, atol=1e-6, rtol=1e-5)


def test_many_rows_repeat_keys_and_not_the_mask():
    def few(heads, kv_heads, queries):
        q, k = torch.zeros(1, heads, queries, 12), torch.zeros(1, kv_heads, 5000, 12)
        return attention_module._few(q, k, torch.ones(1, 1, queries, 5000, dtype=torch.bool))

    assert few(4, 2, 48)  # 2 x 48 rows of the mask; 2 x 4 x 12 numbers of each key and value
    assert not few(4, 2, 49)
    assert not few(4, 4, 10)  # nothing is repeated
