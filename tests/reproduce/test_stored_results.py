"""What docs/results states is what its rows say."""

import json
from statistics import correlation, fmean, stdev

import pytest
from scipy import stats
from stored_results import RESULTS, ROWS_ARE_HERE, rows

from captum_certified.exceptions import InvalidInputError
from captum_certified.reproduce import EXPERIMENTS
from captum_certified.reproduce.certificate_rows import peak_rows, reached_at
from captum_certified.reproduce.experiment import distinct, where
from captum_certified.reproduce.margin_figure import margin_figure

CERTIFICATES = (RESULTS / "certificates.md").read_text(encoding="utf-8")
pytestmark = pytest.mark.skipif(not ROWS_ARE_HERE, reason="the source archive has no rows")


@pytest.mark.parametrize("record", sorted(RESULTS.glob("*.json")), ids=lambda path: path.stem)
def test_a_record_is_the_summary_of_its_rows(record):
    stored = json.loads(record.read_text(encoding="utf-8"))["summary"]
    name, _, data_set = record.stem.partition("-")
    experiment = EXPERIMENTS.get(record.stem) or EXPERIMENTS[name].on(data_set)
    assert json.loads(json.dumps(experiment.summary(rows(record.stem)))) == stored


def test_the_table_of_the_benchmark_has_the_means_of_its_images():
    measured = rows("benchmark")
    page = (RESULTS / "benchmark.md").read_text(encoding="utf-8")
    cells = dict.fromkeys((row["method"], row["sigma"]) for row in measured)
    for method, sigma in cells:
        own = where(measured, method=method, sigma=sigma)
        margins = [row["margin_0.05"] for row in own]
        half = stats.t.ppf(0.975, len(own) - 1) * stdev(margins) / len(own) ** 0.5
        shown = (fmean(row["own_0.05"] for row in own), fmean(row["plain_0.05"] for row in own))
        margin = f"{fmean(margins):+.2f} ± {half:.2f}".replace("-", "−")
        name = method.replace("sham: ", "sham, ")
        line = f"| {name} | {sigma} | {len(own)} × {own[0]['draws']} | {shown[0]:.2f} | {shown[1]:.2f} | {margin} |"
        assert line in page, line
    # The shams: nobody can be steadier than a constant, and the edge detector is steadier than all methods.
    steadiness = {
        method: fmean(row["sensitivity_max"] for row in where(measured, method=method)) for method, _ in cells
    }
    assert sorted(steadiness, key=steadiness.get)[:2] == ["sham: constant", "sham: edges"]
    edges = [row["margin_0.05"] for row in where(measured, method="sham: edges")]
    assert fmean(edges) + 2 * stdev(edges) / len(edges) ** 0.5 < 0


@pytest.mark.parametrize("name", ["sparsified", "relaxed", "unclipped"])
def test_the_tables_over_sigma_have_the_numbers_of_their_rows(name):
    measured = rows(name)
    few, many = distinct(measured, "draws")[0], distinct(measured, "draws")[-1]
    for bound in dict.fromkeys(row["bound"] for row in measured):
        overlaps = {
            (sigma, tau): reached_at(where(measured, bound=bound, sigma=sigma, tau=tau, draws=few))
            for sigma in distinct(measured, "sigma")
            for tau in distinct(measured, "tau")
        }
        (sigma, tau), peak = max(overlaps.items(), key=lambda item: item[1])
        cells = [f"{overlaps[sigma, 0.1]:.3f}" for sigma in distinct(measured, "sigma")]
        cells.append(f"{peak:.3f} (σ = {sigma:g}, τ = {tau:g})" if float(f"{peak:.3f}") else "0.000")
        if many > few:
            cells.append(f"{reached_at(peak_rows(measured, bound)):.3f}")
        assert f"| `{bound}` | {' | '.join(cells)} |" in CERTIFICATES.splitlines()


def test_the_table_of_figure_15_shows_what_its_figure_shows():
    measured = rows("lecuyer")
    for bound, name in (("theorem2", "`theorem2`"), ("lecuyer", "Lecuyer et al.")):
        cells = [f"{reached_at(peak_rows(measured, bound), r):.3f}" for r in (0.01, 0.02, 0.03, 0.04, 0.06, 0.08, 0.1)]
        assert f"| {name} | {' | '.join(cells)} |" in CERTIFICATES.splitlines()


def test_the_largest_overlaps_of_scaled_maps_are_those_of_their_rows():
    measured = rows("scaled")
    for kind in ("scaled", "quadratic"):
        cells = []
        for bound in ("theorem2", "empirical_bernstein", "spectral"):
            of_bound = where(measured, map=kind, bound=bound)
            cells.append(max(number for row in of_bound for column, number in row.items() if column[:8] == "overlap_"))
        assert f"| {kind} | {' | '.join(f'{cell:.4f}' for cell in cells)} |" in CERTIFICATES.splitlines()


# -- what certificates are worth, and the denoiser ------------------------------------------------------------------

COMPARISONS = ("chance", "brightness", "randomised")
PAGES = {name: (RESULTS / f"{name}.md").read_text(encoding="utf-8") for name in ("worth", "denoising")}
NETWORK, RESNET, BEHIND = "MobileNet v1", "ResNet-20", "denoiser and MobileNet v1"


def share(number):
    return f"{number:.2f}" if number < 0.995 else "1.0"


def signed(number):
    return f"{'+' if number >= 0 else '−'}{abs(number):.2f}"


def by_image(name, **settings):
    """The rows of some settings, by image and radius."""
    images = {}
    for row in where(rows(name), **settings):
        images.setdefault(row["image"], {})[f"{row['rho']:g}"] = row
    return images


def line_of(label, at, radii, *, forecast=False):
    """The line of a table: one image, or the mean of many."""
    first = at[radii[0]]
    cells = [label, *(share(first[column]) for column in ("class_kept", "plain_overlap", "brightness", "randomised"))]
    for radius in radii:
        cells += [share(at[radius]["own"]), share(at[radius]["plain"]), signed(at[radius]["margin"])]
    if forecast:
        cells.append(f"{share(first['forecast_own'])}, {share(first['forecast_plain'])}" if "rho" in first else "")
    return f"| {' | '.join(cells)} |"


def means(images, radii):
    columns = ("own", "plain", "margin", "plain_overlap", "class_kept", "brightness", "randomised")
    return {
        radius: {column: fmean(at[radius][column] for at in images.values()) for column in columns} for radius in radii
    }


TABLES = [
    ("worth", {"model": NETWORK}, ("0.05", "0.1"), True),
    ("worth", {"model": RESNET, "sigma": 0.1}, ("0.05", "0.1"), True),
    ("worth", {"model": RESNET, "sigma": 0.2}, ("0.05", "0.1"), False),
    ("denoising", {"model": NETWORK}, ("0.05", "0.1", "0.2"), False),
    ("denoising", {"model": BEHIND}, ("0.05", "0.1", "0.2"), False),
]


@pytest.mark.parametrize(("page", "settings", "radii", "forecast"), TABLES)
def test_the_tables_of_margins_have_the_numbers_of_their_rows(page, settings, radii, forecast):
    images = by_image(page, **settings)
    assert len(images) == 16
    lines = PAGES[page].splitlines()
    for image, at in images.items():
        label = str(image).partition("_")[0]
        assert line_of(label, at, radii, forecast=forecast) in lines
        row = at[radii[0]]
        assert row["margin"] == pytest.approx(row["plain"] - max(row[name] for name in COMPARISONS), abs=1e-7)
    assert line_of("**mean**", means(images, radii), radii, forecast=forecast) in lines


def half_width(numbers):
    """Half the length of the 95 % t-interval of a mean."""
    return float(stats.t.ppf(0.975, len(numbers) - 1)) * stdev(numbers) / len(numbers) ** 0.5


def with_interval(numbers):
    return f"{signed(fmean(numbers))} ± {half_width(numbers):.2f}".replace("+0.00 ±", "0.00 ±")


def column(images, radius, name):
    return [at[radius][name] for at in images.values()]


def bump_margins(images):
    return [at["0.05"]["bump"] - max(at["0.05"][name] for name in COMPARISONS) for at in images.values()]


def above(images, radius, *names):
    """How many photographs have more certified of the plain map than each of the named overlaps."""
    return sum(at[radius]["plain"] > max(at[radius][name] for name in names) for at in images.values())


def test_the_text_of_the_ordinary_networks_has_the_numbers_of_the_rows():
    page, images = " ".join(PAGES["worth"].split()), by_image("worth", model=NETWORK)
    for settings in ({"model": NETWORK}, {"model": RESNET, "sigma": 0.1}):
        found = [with_interval(column(by_image("worth", **settings), radius, "margin")) for radius in ("0.05", "0.1")]
        assert f"{found[0]} at ρ = 0.05 and {found[1]} at ρ = 0.1" in page
    bump = bump_margins(images)
    assert (
        f"it has a margin of {with_interval(bump)} at every radius, positive for {sum(x > 0 for x in bump)} of" in page
    )
    assert (
        f"is certified for {above(images, '0.05', 'bump')} photographs at ρ = 0.05, and only "
        f"{above(images, '0.05', *COMPARISONS, 'bump')} of the {above(images, '0.05', *COMPARISONS)} positive"
    ) in page
    found = correlation(column(images, "0.05", "class_kept"), column(images, "0.05", "margin"))
    assert f"at ρ = 0.05 is {signed(found)}." in page


def test_the_differences_of_the_denoiser_are_those_of_its_rows():
    alone, behind = by_image("denoising", model=NETWORK), by_image("denoising", model=BEHIND)
    assert list(alone) == list(behind)
    cells = []
    for radius in ("0.05", "0.1", "0.2"):
        for name in ("own", "plain", "margin"):
            pairs = zip(column(alone, radius, name), column(behind, radius, name), strict=True)
            cells.append(with_interval([after - before for before, after in pairs]))
    assert f"| difference | {' | '.join(cells)} |" in PAGES["denoising"].splitlines()


def test_the_summary_of_the_denoiser_is_the_mean_of_its_rows():
    radii = ("0.05", "0.1", "0.2")
    for label, model in (("alone", NETWORK), ("behind the denoiser", BEHIND)):
        found = line_of(label, means(by_image("denoising", model=model), radii), radii).split(" | ")
        assert " | ".join([*found[:3], *found[5:]]) in PAGES["denoising"].splitlines()


def test_the_text_of_the_denoiser_has_the_numbers_of_the_rows():
    page, behind = " ".join(PAGES["denoising"].split()), by_image("denoising", model=BEHIND)
    alone = by_image("denoising", model=NETWORK)
    small, large = (with_interval(column(behind, radius, "margin")) for radius in ("0.05", "0.1"))
    assert f"It is {small} at ρ = 0.05 and {large} at ρ = 0.1." in page
    bump = bump_margins(behind)
    assert f"a margin of {with_interval(bump)}, positive on {sum(x > 0 for x in bump)} of 16" in page
    over = above(behind, "0.05", "bump")
    gain = [at["0.05"]["plain"] - at["0.05"]["bump"] for at in behind.values()]
    assert f"on {over} of 16 photographs at ρ = 0.05, and in the mean by {with_interval(gain)}" in page
    few = ", ".join(str(above(alone, radius, "others")) for radius in ("0.05", "0.1"))
    assert f"for {few} and {above(alone, '0.2', 'others')} with the network alone" in page
    for names, text in (
        (("others",), "{}, {} and {} margins"),
        (("others", "bump"), "with the bump too, {}, {} and {}."),
    ):
        assert text.format(*(above(behind, radius, *COMPARISONS, *names) for radius in ("0.05", "0.1", "0.2"))) in page
    same = [at["0.05"]["target"] == at["0.05"]["predicted"] for at in behind.values()]
    assert f"Behind the denoiser {sum(same)} of the 16" in page
    positive = [both for both, at in zip(same, behind.values(), strict=True) if at["0.05"]["margin"] > 0]
    assert f"{sum(positive)} of the {len(positive)} positive margins at ρ = 0.05" in page
    right = [sum(int(name[:3]) == at["0.05"]["predicted"] for name, at in of.items()) for of in (alone, behind)]
    assert f"right on {right[0]} of the 16, and behind the denoiser on {right[1]}." in page
    best = by_image("worth", model=NETWORK)
    for name in ("plain", "margin"):
        pairs = zip(column(best, "0.05", name), column(behind, "0.05", name), strict=True)
        assert with_interval([after - before for before, after in pairs]) in page


# -- the figure of margins ------------------------------------------------------------------------------------------


def margins_of(page):
    """The margins of each photograph at ρ = 0.05 that the figure of a page shows: of the models, and of the sham."""

    def labelled(images, values):
        return {image.partition("_")[0]: value for image, value in zip(images, values, strict=True)}

    if page == "worth":
        images = by_image("worth", model=NETWORK)
        shown = {NETWORK: labelled(images, column(images, "0.05", "margin"))}
        return shown, {"a fixed bump": labelled(images, bump_margins(images))}
    alone, behind = (by_image("denoising", model=model) for model in (NETWORK, BEHIND))
    pairs = (("alone", alone), ("behind the denoiser", behind))
    shown = {name: labelled(images, column(images, "0.05", "margin")) for name, images in pairs}
    return shown, {"a fixed bump, on the map behind the denoiser": labelled(behind, bump_margins(behind))}


@pytest.mark.parametrize("page", ["worth", "denoising"])
def test_the_figure_of_margins_has_a_mark_for_each_row(page):
    margins, sham = margins_of(page)
    [axes] = margin_figure(margins, sham=sham, radius=0.05).axes
    names = [text.get_text() for text in axes.get_yticklabels()][1:]
    for of, points in zip({**margins, **sham}.values(), axes.collections[::2], strict=True):
        assert [tuple(point) for point in points.get_offsets()] == [(of[name], names.index(name) + 1) for name in names]
    assert [text.get_text() for text in axes.get_figure().legends[0].texts] == [*margins, *sham]


def test_a_figure_of_margins_needs_the_same_images():
    with pytest.raises(InvalidInputError, match="the same two or more images"):
        margin_figure({"one": {"cat": 0.1, "dog": 0.2}, "other": {"cat": 0.1}}, sham={}, radius=0.05)
