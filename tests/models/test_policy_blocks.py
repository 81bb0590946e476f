"""Mixer, DiT and their attention: what sees what."""

import pytest
import torch
from torch import Tensor

from nitrogen_train.models.dit import ActionHead, Attention, DiT, Mixer, Tokens


def _random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def test_masked_tokens_are_not_attended_to() -> None:
    mixer = Mixer(width=16, num_heads=4, num_layers=2, dropout=0.0)
    tokens, mask = _random(2, 6, 16), torch.ones(2, 6, dtype=torch.bool)
    mask[0, :2] = False
    changed = tokens.clone()
    changed[0, :2] += 5

    before, after = mixer(tokens, mask), mixer(changed, mask)

    torch.testing.assert_close(after[mask], before[mask])
    torch.testing.assert_close(before[0, 2:], mixer(tokens[:1, 2:])[0])


def test_the_mixer_does_not_know_the_order_of_tokens() -> None:
    mixer = Mixer(width=16, num_heads=4, num_layers=2, dropout=0.0)
    tokens, order = _random(2, 6, 16), torch.tensor([3, 1, 5, 0, 2, 4])

    torch.testing.assert_close(mixer(tokens[:, order]), mixer(tokens)[:, order])


def _action_head() -> ActionHead:
    torch.manual_seed(0)
    dit = DiT(width=16, num_heads=2, num_layers=3, dropout=0.0, max_action_horizon=5)
    return ActionHead(dit=dit, action_dim=7, action_horizon=4, token_dim=16)


def test_times_of_one_sample_stand_for_the_batch_and_one_row_for_all() -> None:
    network = _action_head()
    context = network.attend_to(Tokens(values=_random(3, 6, 16)))
    x_t = _random(3, 4, 7)

    def velocity(time: Tensor) -> Tensor:
        return network(x_t, network.condition_on(time), context)

    one = velocity(torch.full((1, 1), 0.4))
    torch.testing.assert_close(velocity(torch.full((3, 1), 0.4)), one)
    torch.testing.assert_close(velocity(torch.full((3, 4), 0.4)), one)
    torch.testing.assert_close(velocity(torch.full((1, 4), 0.4)), one)


def test_the_network_is_told_the_thousandth_part_that_a_time_lies_in() -> None:
    network = _action_head()

    def told(time: float) -> Tensor:
        return network.condition_on(torch.full((1, 1), time)).encoded_time

    assert torch.equal(told(0.4), told(0.4009))
    assert not torch.equal(told(0.4), told(0.4011))
    assert torch.equal(told(1.0), told(0.9995))


def test_rows_know_their_place() -> None:
    network = _action_head()
    context = network.attend_to(Tokens(values=_random(1, 6, 16)))

    velocity = network(torch.zeros(1, 4, 7), network.condition_on(torch.zeros(1, 1)), context)

    assert (velocity[0, 1:] - velocity[0, :1]).norm(dim=-1).min() > 1e-4


@pytest.mark.parametrize("num_heads", [0, 3])
def test_heads_that_cannot_share_the_width_are_refused(num_heads: int) -> None:
    with pytest.raises(ValueError, match=f"width=16 must be a multiple of num_heads={num_heads}"):
        Attention(width=16, num_heads=num_heads, dropout=0.0)
