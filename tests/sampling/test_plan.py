"""The plan that cuts draws into blocks and passes, and the noisy inputs of a pass."""

import dataclasses

import pytest
import torch

from captum_certified.sampling import SamplingPlan, block_draws, make_noise, noisy_inputs

PLAN = SamplingPlan(seed=4, first_draw=0, n_samples=5000, pass_size=48, block=2048, stdevs=(0.5,))


def cut(plan):
    return [(b, list(plan.passes(b))) for b in plan.blocks()]


@pytest.mark.parametrize("pass_size", [1, 7, 48, 64, 1000, 1024, 5000])
@pytest.mark.parametrize("block", [1024, 2048])
@pytest.mark.parametrize(("first_draw", "n_samples"), [(0, 5000), (0, 1), (1023, 2), (100, 2100), (2048, 2048)])
def test_passes_cover_every_draw_once_in_order(pass_size, block, first_draw, n_samples):
    plan = SamplingPlan(
        seed=0, first_draw=first_draw, n_samples=n_samples, pass_size=pass_size, block=block, stdevs=(1.0,)
    )
    draws = [draw for _, passes in cut(plan) for part in passes for draw in part]
    assert draws == list(range(first_draw, first_draw + n_samples))
    for whole, passes in cut(plan):
        assert whole.start % block == 0 or whole.start == first_draw
        assert whole.stop % block == 0 or whole.stop == first_draw + n_samples
        assert len(whole) <= block
        assert all(len(part) <= min(pass_size, 1024) for part in passes)


def boundaries(plan):
    return {part.start for _, passes in cut(plan) for part in passes}


@pytest.mark.parametrize("first_draw", [48, 1024, 1072, 2048])
def test_a_run_continued_at_a_cut_makes_the_same_passes(first_draw):
    rest = dataclasses.replace(PLAN, first_draw=first_draw, n_samples=PLAN.n_samples - first_draw)
    assert boundaries(rest) == {start for start in boundaries(PLAN) if start >= first_draw}


def test_passes_do_not_depend_on_the_block():
    assert boundaries(PLAN) == boundaries(dataclasses.replace(PLAN, block=1024))


def test_blocks_of_binary_maps_are_twice_as_long():
    assert (block_draws(binary=True), block_draws(binary=False)) == (2048, 1024)


def test_noisy_inputs_are_the_input_plus_scaled_noise_in_the_order_of_noise_tunnel():
    x = torch.arange(6.0, dtype=torch.float64).reshape(2, 3)
    noisy = noisy_inputs((x,), range(10, 14), PLAN)[0]
    noise = make_noise((3,), seed=4, draws=range(10, 14), tensor=0, dtype=torch.float64, device=x.device)
    assert torch.equal(noisy, torch.cat([x[0] + 0.5 * noise, x[1] + 0.5 * noise]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_sums_are_formed_precisely_and_then_rounded(dtype):
    x = torch.full((1, 50), 0.3, dtype=dtype)
    noisy = noisy_inputs((x,), range(3), PLAN)[0]
    precise = torch.float64 if dtype == torch.float64 else torch.float32
    noise = make_noise((50,), seed=4, draws=range(3), tensor=0, dtype=precise, device=x.device)
    assert noisy.dtype == dtype
    assert torch.equal(noisy, (x.to(precise) + 0.5 * noise).to(dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1, 5, 17, 1000])
def test_noisy_inputs_do_not_depend_on_other_rows_position_or_pass(dtype, size):
    rows = torch.rand((5, size), generator=torch.Generator().manual_seed(0), dtype=dtype)
    whole = noisy_inputs((rows,), range(20, 33), PLAN)[0].reshape(5, 13, size)
    for row in range(5):
        for draw in (20, 27, 32):
            alone = noisy_inputs((rows[row : row + 1],), range(draw, draw + 1), PLAN)[0]
            assert torch.equal(alone[0], whole[row, draw - 20])


def test_tensors_get_noise_of_their_own_and_zero_holds_one_fixed():
    plan = dataclasses.replace(PLAN, stdevs=(1.0, 0.0, 1.0))
    zeros, tokens = torch.zeros(2, 4), torch.arange(6).reshape(2, 3)
    first, held, third = noisy_inputs((zeros, tokens, zeros), range(3), plan)
    assert not torch.equal(first, third)
    assert held.dtype == torch.int64
    assert torch.equal(held, tokens.repeat_interleave(3, dim=0))


def test_noisy_inputs_are_new_tensors():
    x = torch.rand(1, 4)
    for stdev in (0.0, 1.0):
        noisy = noisy_inputs((x,), range(1), dataclasses.replace(PLAN, stdevs=(stdev,)))[0]
        noisy.zero_()
    assert bool((x != 0).all())


def test_gradients_flow_through_the_sum():
    x = torch.rand(2, 4, requires_grad=True)
    for stdev in (0.0, 1.0):
        noisy = noisy_inputs((x,), range(3), dataclasses.replace(PLAN, stdevs=(stdev,)))[0]
        [gradient] = torch.autograd.grad(noisy.sum(), x)
        torch.testing.assert_close(gradient, torch.full_like(x, 3.0))


@pytest.mark.parametrize(
    ("shape", "layout"), [((2, 3, 4, 5), torch.channels_last), ((2, 3, 4, 5, 6), torch.channels_last_3d)]
)
def test_images_keep_their_layout_in_memory_and_their_noise(shape, layout):
    images = torch.rand(shape)
    [plain], [last] = (noisy_inputs((x,), range(3), PLAN) for x in (images, images.contiguous(memory_format=layout)))
    assert plain.is_contiguous()
    assert last.is_contiguous(memory_format=layout)
    assert torch.equal(plain, last)
