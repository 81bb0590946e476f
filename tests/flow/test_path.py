"""The identities of the straight path."""

import torch

from nitrogen_train.flow import sample_path, velocity_to


def _noise_and_data() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x_0, x_1 = torch.randn(2, 3, 4, 5, generator=generator, dtype=torch.float64)
    return x_0, x_1


def test_endpoints_are_noise_and_data() -> None:
    x_0, x_1 = _noise_and_data()

    at_0 = sample_path(x_0, x_1, torch.zeros(3, dtype=torch.float64))
    at_1 = sample_path(x_0, x_1, torch.ones(3, dtype=torch.float64))

    assert torch.equal(at_0.x_t, x_0)
    assert torch.equal(at_1.x_t, x_1)


def test_velocity_is_the_derivative_of_the_path() -> None:
    x_0, x_1 = _noise_and_data()
    time = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)

    _, derivative = torch.autograd.functional.jvp(
        lambda t: sample_path(x_0, x_1, t).x_t, time, torch.ones_like(time)
    )

    torch.testing.assert_close(sample_path(x_0, x_1, time).velocity, derivative)


def test_rows_may_have_times_of_their_own() -> None:
    x_0, x_1 = _noise_and_data()
    time = torch.tensor([[0.0, 0.2, 0.7, 1.0]], dtype=torch.float64).repeat(3, 1)

    by_row = sample_path(x_0, x_1, time).x_t

    for row in range(4):
        by_sample = sample_path(x_0, x_1, time[:, row]).x_t
        assert torch.equal(by_row[:, row], by_sample[:, row])


def test_the_velocity_to_the_data_is_that_of_the_path() -> None:
    x_0, x_1 = _noise_and_data()
    time = torch.tensor([0.0, 0.4, 0.99], dtype=torch.float64)
    path = sample_path(x_0, x_1, time)

    velocity = velocity_to(x_1, path.x_t, time[:, None])

    torch.testing.assert_close(velocity, path.velocity)


def test_the_velocity_to_the_data_stays_finite_at_the_end() -> None:
    x_0, x_1 = _noise_and_data()

    assert velocity_to(x_1, x_0, torch.ones(1, 1, dtype=torch.float64)).isfinite().all()
