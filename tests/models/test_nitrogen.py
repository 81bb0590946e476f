"""The flow-matching policy as a whole."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from nitrogen_train.actions import GAMEPAD
from nitrogen_train.actions.space import KEYBOARD_MOUSE
from nitrogen_train.batch import PolicyBatch
from nitrogen_train.flow import ShiftedBeta, sample_path
from nitrogen_train.models.dit import Tokens
from nitrogen_train.models.nitrogen import NitroGen
from nitrogen_train.models.policy import decode_actions

BuildPolicy = Callable[..., NitroGen]
BuildBatch = Callable[..., PolicyBatch]


def _noise(num: int) -> Tensor:
    return torch.randn(num, 4, 25, generator=torch.Generator().manual_seed(3))


def test_the_loss_is_the_masked_squared_error_of_the_velocity(
    build_policy: BuildPolicy, build_batch: BuildBatch
) -> None:
    policy, batch = build_policy(), build_batch()
    noise, time = _noise(6), torch.linspace(0.1, 0.9, 6)

    output = policy.compute_loss(batch, noise=noise, time=time)

    path = sample_path(noise, batch.actions, time)
    velocity = policy.predict_velocity(path.x_t, time, policy.encode_frames(batch.frames))
    errors = (velocity - path.velocity).square()
    torch.testing.assert_close(output.loss, errors[batch.action_mask].mean())
    torch.testing.assert_close(
        output.error_sum_sticks / output.num_valid_sticks,
        errors[..., 21:][batch.action_mask[..., 21:]].mean(),
    )
    torch.testing.assert_close(
        output.error_sum_buttons / output.num_valid_buttons,
        errors[..., :21][batch.action_mask[..., :21]].mean(),
    )


def test_a_samples_loss_does_not_depend_on_its_batch(
    build_policy: BuildPolicy, build_batch: BuildBatch
) -> None:
    policy, batch = build_policy(games=["a", "b"], condition_dropout=0.5).train(), build_batch(6)
    order = [4, 0, 5, 1, 3, 2]

    def error_sum(indices: list[int]) -> Tensor:
        fields = ("frames", "frame_mask", "actions", "action_mask", "game_id", "sample_seed")
        part = {name: getattr(batch, name)[indices] for name in fields}
        window_ids = tuple(batch.window_ids[index] for index in indices)
        return policy.compute_loss(replace(batch, **part, window_ids=window_ids)).error_sum

    whole = error_sum(list(range(6)))
    torch.testing.assert_close(error_sum(order), whole)
    torch.testing.assert_close(error_sum([0, 1, 2]) + error_sum([3, 4, 5]), whole)


def test_masked_actions_change_nothing_but_the_noisy_input(
    build_policy: BuildPolicy, build_batch: BuildBatch
) -> None:
    policy, batch = build_policy(), build_batch()
    # At time 0 the input is noise alone, so masked actions cannot enter at all.
    time, noise = torch.zeros(6), _noise(6)
    changed = torch.where(batch.action_mask, batch.actions, 1 - batch.actions)

    before = policy.compute_loss(batch, time=time, noise=noise)
    after = policy.compute_loss(replace(batch, actions=changed), time=time, noise=noise)

    assert torch.equal(before.loss, after.loss)


def test_a_generator_decides_the_loss(build_policy: BuildPolicy, build_batch: BuildBatch) -> None:
    policy, batch = build_policy(), build_batch()

    def loss(seed: int) -> Tensor:
        return policy.compute_loss(batch, generator=torch.Generator().manual_seed(seed)).loss

    assert torch.equal(loss(1), loss(1))
    assert not torch.equal(loss(1), loss(2))


def test_one_batch_can_be_learned(build_policy: BuildPolicy, build_batch: BuildBatch) -> None:
    policy, batch = build_policy().train(), build_batch(2)
    # A dull batch: what to predict does not follow from noise, so the loss can reach zero.
    batch = replace(batch, actions=torch.full_like(batch.actions, 0.5))
    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-2)
    first = policy.compute_loss(batch).loss.item()

    for _ in range(30):
        optimizer.zero_grad()
        loss = policy.compute_loss(batch).loss
        loss.backward()
        optimizer.step()

    assert loss.item() < 0.2 * first


def test_every_trainable_parameter_gets_a_gradient(
    build_policy: BuildPolicy, build_batch: BuildBatch
) -> None:
    policy = build_policy(games=["a"], num_frames=2)

    policy.compute_loss(build_batch(num_frames=2, num_games=1)).loss.backward()

    without = [n for n, p in policy.named_parameters() if p.requires_grad and p.grad is None]
    assert not without


def test_sampling_integrates_the_predicted_velocity(
    build_policy: BuildPolicy, build_batch: BuildBatch
) -> None:
    policy, batch = build_policy(), build_batch(2)
    tokens, x_t = policy.encode_frames(batch.frames), _noise(2)

    chunk = policy.generate_actions(tokens, noise=x_t, num_sampling_steps=5)

    with torch.no_grad():
        for step in range(5):
            time = torch.full((2,), step / 5)
            x_t = x_t + policy.predict_velocity(x_t, time, tokens) / 5
    torch.testing.assert_close(chunk.values, x_t, rtol=1e-4, atol=1e-4)


def test_a_chunk_is_read_by_the_names_of_the_action_space(
    build_policy: BuildPolicy, build_batch: BuildBatch
) -> None:
    policy, batch = build_policy(), build_batch(3)

    chunk = policy.generate_actions(policy.encode_frames(batch.frames), noise=_noise(3))

    rows = GAMEPAD.decode(chunk.values.numpy())
    assert torch.equal(chunk.buttons, torch.from_numpy(rows.buttons))
    sticks = torch.from_numpy(rows.sticks)
    torch.testing.assert_close(chunk.sticks, sticks)
    assert chunk.sticks.abs().max() <= 1
    assert torch.equal(chunk.left_stick, chunk.sticks[..., :2])
    assert torch.equal(chunk.right_stick, chunk.sticks[..., 2:])


def test_a_chunk_of_another_space_has_no_sticks_of_a_gamepad() -> None:
    chunk = decode_actions(torch.zeros(1, 2, KEYBOARD_MOUSE.action_dim), KEYBOARD_MOUSE)

    assert chunk.sticks.shape == (1, 2, len(KEYBOARD_MOUSE.sticks))
    with pytest.raises(ValueError, match="'keyboard_mouse' has no control 'LEFT_STICK_X'"):
        chunk.left_stick  # noqa: B018


def test_the_same_generator_gives_the_same_chunk(
    build_policy: BuildPolicy, build_batch: BuildBatch
) -> None:
    policy, batch = build_policy(), build_batch(2)
    tokens = policy.encode_frames(batch.frames)

    def values(seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return policy.generate_actions(tokens, generator=generator, num_sampling_steps=2).values

    assert torch.equal(values(1), values(1))
    assert not torch.equal(values(1), values(2))


def test_training_gives_first_rows_as_they_are_and_asks_for_the_others(
    build_policy: BuildPolicy, build_batch: BuildBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy, batch = build_policy(max_prefix_rows=3).train(), build_batch(64)
    seen: list[tuple[Tensor, ...]] = []
    run = type(policy.action_head).forward
    condition_on = type(policy.action_head).condition_on

    def watch(self, x_t, condition, context):
        seen.append((x_t,))
        return run(self, x_t, condition, context)

    def note(self, time):
        seen.append((time,))
        return condition_on(self, time)

    monkeypatch.setattr(type(policy.action_head), "forward", watch)
    monkeypatch.setattr(type(policy.action_head), "condition_on", note)

    output = policy.compute_loss(batch)

    (time,), (x_t,) = seen
    num_rows = (time == 1).sum(dim=1)
    assert set(num_rows.tolist()) == {0, 1, 2, 3}
    is_prefix = torch.arange(4) < num_rows[:, None]
    torch.testing.assert_close(time == 1, is_prefix)
    torch.testing.assert_close(x_t[is_prefix], batch.actions[is_prefix])
    assert not torch.isclose(x_t[~is_prefix], batch.actions[~is_prefix]).all(dim=-1).any()
    # The others are at one time for each sample, and they alone have an error.
    rest = time.masked_fill(is_prefix, torch.nan)
    torch.testing.assert_close(rest.nanmean(dim=1), time[:, -1])
    assert output.num_valid == (batch.action_mask & ~is_prefix[..., None]).sum()
    # In validation nothing is given.
    assert policy.eval().compute_loss(batch).num_valid == batch.action_mask.sum()


def test_a_prefix_is_kept_by_the_settings_and_bounded(build_policy: BuildPolicy) -> None:
    policy = build_policy(max_prefix_rows=2)

    assert NitroGen.from_settings(policy.settings).max_prefix_rows == 2
    assert "max_prefix_rows" not in build_policy().settings
    for number in (-1, 4):
        with pytest.raises(ValueError, match=r"max_prefix_rows must lie in \[0, 3\]"):
            build_policy(max_prefix_rows=number)


def test_committed_actions_come_back_and_shape_the_rest(
    build_policy: BuildPolicy, build_batch: BuildBatch
) -> None:
    policy, batch = build_policy(), build_batch(2)
    tokens, noise = policy.encode_frames(batch.frames), _noise(2)

    def values(committed: Tensor) -> Tensor:
        return policy.generate_actions(tokens, committed_actions=committed, noise=noise).values

    pressed, released = values(torch.ones(2, 2, 25)), values(torch.zeros(2, 2, 25))
    assert torch.equal(pressed[:, :2], torch.ones(2, 2, 25))
    assert torch.equal(released[:, :2], torch.zeros(2, 2, 25))
    assert (pressed[:, 2:] - released[:, 2:]).abs().max() > 1e-3


def test_more_committed_actions_than_a_chunk_has_are_refused(
    build_policy: BuildPolicy, build_batch: BuildBatch
) -> None:
    policy, batch = build_policy(), build_batch(1)

    with pytest.raises(ValueError, match="5 rows are committed, but a chunk of this policy has 4"):
        policy.generate_actions(
            policy.encode_frames(batch.frames), committed_actions=torch.zeros(1, 5, 25)
        )


def test_training_sees_rows_at_time_one_clean(
    build_policy: BuildPolicy, build_batch: BuildBatch
) -> None:
    policy, batch = build_policy(), build_batch(2)
    time = torch.tensor([[1.0, 1.0, 0.3, 0.3], [1.0, 1.0, 0.8, 0.8]])
    committed = time == 1
    later = replace(batch, action_mask=batch.action_mask & ~committed[..., None])

    def loss(noise: Tensor, time: Tensor = time) -> Tensor:
        return policy.compute_loss(later, time=time, noise=noise).loss

    other_noise = torch.where(committed[..., None], _noise(2) + 1, _noise(2))
    torch.testing.assert_close(loss(other_noise), loss(_noise(2)))
    assert (loss(_noise(2), time[:, 2]) - loss(_noise(2))).abs() > 1e-4


def test_hiding_a_game_that_is_not_told_is_refused(build_policy: BuildPolicy) -> None:
    with pytest.raises(ValueError, match=r"condition_dropout=0\.1 hides the game, but"):
        build_policy(condition_dropout=0.1)


def test_guidance_blends_from_unconditional_through_conditional(
    build_policy: BuildPolicy, build_batch: BuildBatch
) -> None:
    policy, batch = build_policy(games=["a", "b"]), build_batch(2)
    told = policy.encode_frames(batch.frames, game_id=torch.tensor([1, 2]))
    open_ = policy.encode_frames(batch.frames)

    def values(tokens: Tokens, scale: float) -> Tensor:
        return policy.generate_actions(
            tokens, unconditional_tokens=open_, guidance_scale=scale, noise=_noise(2)
        ).values

    plain = policy.generate_actions(told, noise=_noise(2)).values
    torch.testing.assert_close(values(told, 1.0), plain)
    torch.testing.assert_close(values(told, 0.0), values(open_, 1.0))
    assert (values(told, 3.0) - plain).abs().max() > 1e-3


def test_guidance_without_unconditional_tokens_is_refused(
    build_policy: BuildPolicy, build_batch: BuildBatch
) -> None:
    policy, batch = build_policy(games=["a"]), build_batch(1)

    with pytest.raises(ValueError, match=r"guidance_scale=2\.0 needs unconditional_tokens"):
        policy.generate_actions(policy.encode_frames(batch.frames), guidance_scale=2.0)


def test_the_game_is_the_first_token_and_reaches_the_others(
    build_policy: BuildPolicy, build_batch: BuildBatch
) -> None:
    policy, batch = build_policy(games=["a", "b"]), build_batch(2)

    tokens = policy.encode_frames(batch.frames, game_id=torch.tensor([1, 2])).values
    other = policy.encode_frames(batch.frames, game_id=torch.tensor([1, 1])).values

    assert tokens.shape[1] == 1 + policy.encoder.num_tokens
    torch.testing.assert_close(tokens[0], other[0])
    assert (tokens[1] - other[1]).abs().min() > 0


def test_hiding_the_game_always_is_like_not_telling_it(
    build_policy: BuildPolicy, build_batch: BuildBatch
) -> None:
    hiding, batch = build_policy(games=["a", "b"], condition_dropout=1.0), build_batch(num_games=2)
    untold = replace(batch, game_id=torch.zeros_like(batch.game_id))

    assert batch.game_id.any()
    assert torch.equal(hiding.train().compute_loss(batch).loss, hiding.compute_loss(untold).loss)
    assert not torch.equal(hiding.eval().compute_loss(batch).loss, hiding.compute_loss(untold).loss)


def test_a_policy_without_games_is_never_told(
    build_policy: BuildPolicy, build_batch: BuildBatch
) -> None:
    policy, batch = build_policy(), build_batch(2)

    told = policy.encode_frames(batch.frames, game_id=torch.tensor([1, 2]))

    assert torch.equal(told.values, policy.encode_frames(batch.frames).values)
    assert policy.game_id("anything") == 0


def test_game_ids_start_at_one_and_an_unknown_game_is_refused(build_policy: BuildPolicy) -> None:
    policy = build_policy(games=["doom", "racing"])

    assert [policy.game_id(game) for game in policy.games] == [1, 2]
    with pytest.raises(ValueError, match="knows the games doom, racing, not 'chess'"):
        policy.game_id("chess")


def test_tokens_say_which_of_them_are_real(
    build_policy: BuildPolicy, build_batch: BuildBatch
) -> None:
    policy, batch = build_policy(num_frames=2, games=["a"]), build_batch(2, num_frames=2)
    mask = torch.tensor([[False, True], [True, True]])
    per_frame = policy.encoder.num_tokens

    some = policy.encode_frames(batch.frames, frame_mask=mask).is_real

    assert some.tolist() == [
        [True, *[False] * per_frame, *[True] * per_frame],
        [True] * (1 + 2 * per_frame),
    ]
    assert policy.encode_frames(batch.frames).is_real is None


def test_a_token_that_is_zero_and_real_is_attended_to(build_policy: BuildPolicy) -> None:
    policy, time = build_policy(num_frames=2), torch.tensor([0.5])
    values = torch.randn(1, 2 * policy.encoder.num_tokens, policy.encoder.width)
    values[:, 0] = 0
    without = torch.ones(values.shape[:2], dtype=torch.bool)
    without[:, 0] = False

    with_zero = policy.predict_velocity(_noise(1), time, Tokens(values=values))
    without_zero = policy.predict_velocity(_noise(1), time, Tokens(values=values, is_real=without))

    assert (with_zero - without_zero).abs().max() > 1e-4


def test_a_missing_frame_changes_nothing(
    build_policy: BuildPolicy, build_batch: BuildBatch
) -> None:
    policy = build_policy(num_frames=3, games=["a"])
    batch = build_batch(2, num_frames=3)
    mask = torch.tensor([[False, False, True], [True, True, True]])
    changed = batch.frames.clone()
    changed[0, :2] = 255 - changed[0, :2]

    def values(frames: Tensor, frame_mask: Tensor) -> Tensor:
        tokens = policy.encode_frames(frames, frame_mask=frame_mask)
        return policy.generate_actions(tokens, noise=_noise(2)).values

    all_seen = torch.ones_like(mask)
    torch.testing.assert_close(values(changed, mask), values(batch.frames, mask))
    assert (values(changed, all_seen) - values(batch.frames, all_seen))[0].abs().max() > 1e-3


def test_dropout_acts_in_training_alone(build_policy: BuildPolicy, build_batch: BuildBatch) -> None:
    policy, batch = build_policy(dropout=0.5), build_batch()

    assert torch.equal(policy.compute_loss(batch).loss, policy.compute_loss(batch).loss)
    policy.train()
    assert not torch.equal(policy.compute_loss(batch).loss, policy.compute_loss(batch).loss)


@pytest.mark.parametrize("horizon", [0, 9])
def test_a_horizon_that_the_positions_do_not_cover_is_refused(
    build_policy: BuildPolicy, horizon: int
) -> None:
    policy = build_policy()
    parts = {"encoder": policy.encoder, "mixer": policy.mixer, "dit": policy.action_head.dit}

    with pytest.raises(ValueError, match=rf"action_horizon={horizon} must lie in \[1, .*=8\]"):
        NitroGen(
            **parts,
            path_time=ShiftedBeta(alpha=1.6, beta=0.8, scale=0.999),
            action_space="gamepad",
            action_horizon=horizon,
        )


def test_a_policy_that_predicts_x_1_compares_and_follows_it(
    build_policy: BuildPolicy, build_batch: BuildBatch
) -> None:
    batch = build_batch()
    policy, plain = build_policy(button_prediction="x_1", stick_prediction="x_1"), build_policy()
    noise = torch.randn(6, 4, 25, generator=torch.Generator().manual_seed(2))
    tokens = policy.encode_frames(batch.frames)
    time = torch.full((6,), 0.25)

    # The same network, read as a velocity by one and as x_1 by the other.
    x_1 = plain.predict_velocity(noise, time, tokens)

    velocity = policy.predict_velocity(noise, time, tokens)
    torch.testing.assert_close(velocity, (x_1 - noise) / 0.75)
    one_step = policy.generate_actions(tokens, noise=noise, num_sampling_steps=1).values
    at_start = plain.predict_velocity(noise, torch.zeros(6), tokens)
    torch.testing.assert_close(one_step, at_start)
    output = policy.compute_loss(batch, time=torch.zeros(6), noise=noise)
    expected = (at_start - batch.actions)[batch.action_mask].square().sum()
    torch.testing.assert_close(output.error_sum, expected)


def test_logits_of_buttons_mean_their_probability(
    build_policy: BuildPolicy, build_batch: BuildBatch
) -> None:
    batch = build_batch()
    batch = replace(batch, actions=batch.actions.round())
    policy, plain = build_policy(button_prediction="logits"), build_policy()
    noise, time = _noise(6), torch.full((6,), 0.25)
    tokens = policy.encode_frames(batch.frames)
    x_t = sample_path(noise, batch.actions, time).x_t

    # The same network; its first outputs are logits of the buttons for one of the two.
    output = plain.predict_velocity(x_t, time, tokens)
    velocity = policy.predict_velocity(x_t, time, tokens)
    loss = policy.compute_loss(batch, time=time, noise=noise)

    torch.testing.assert_close(velocity[..., 21:], output[..., 21:])
    torch.testing.assert_close(
        x_t[..., :21] + 0.75 * velocity[..., :21], output[..., :21].sigmoid()
    )
    mask = batch.action_mask[..., :21]
    cross_entropy = torch.nn.functional.binary_cross_entropy_with_logits(
        output[..., :21][mask], batch.actions[..., :21][mask]
    )
    torch.testing.assert_close(loss.error_sum_buttons / loss.num_valid_buttons, cross_entropy)


def test_the_last_step_of_logits_ends_at_a_probability(
    build_policy: BuildPolicy, build_batch: BuildBatch
) -> None:
    policy, batch = build_policy(button_prediction="logits"), build_batch()

    chunk = policy.generate_actions(
        policy.encode_frames(batch.frames), noise=_noise(6), num_sampling_steps=4
    )

    probabilities = chunk.values[..., :21]
    assert probabilities.min() > -1e-5
    assert probabilities.max() < 1 + 1e-5
    assert torch.equal(chunk.buttons, probabilities > 0.5)


def test_a_controls_weight_scales_its_loss(
    build_policy: BuildPolicy, build_batch: BuildBatch
) -> None:
    batch, time, noise = build_batch(), torch.full((6,), 0.5), _noise(6)
    only_west = replace(batch, action_mask=batch.action_mask & (torch.arange(25) == 20))

    def error_sum(batch: PolicyBatch, **weights: float) -> Tensor:
        policy = build_policy(control_weights=weights)
        return policy.compute_loss(batch, time=time, noise=noise).error_sum

    extra = error_sum(batch, WEST=3.0) - error_sum(batch)
    torch.testing.assert_close(extra, 2 * error_sum(only_west))
    with pytest.raises(ValueError, match="no control 'WSET'; did you mean WEST"):
        build_policy(control_weights={"WSET": 2.0})
