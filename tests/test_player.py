"""The player as a piece of HTML: what is in it, how large it is, and what it refuses."""

import base64
import html.parser
import io
import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from minigrok.course.player import LARGEST, _number, _step_scale, _value_scale, _words, player

STEPS = [0, 1, 10, 100]


def pictures(n=4, height=20, width=30):
    return [np.full((height, width, 3), (10 * k, 100, 255 - 10 * k), dtype=np.uint8) for k in range(n)]


def film(steps=STEPS, curves=None, frames=None, **options):
    curves = {"accuracy": np.linspace(0.5, 1, len(steps))} if curves is None else curves
    frames = {"map": pictures(len(steps))} if frames is None else frames
    return player(steps, curves, frames, **({"title": "Dawn", "alt": "A field."} | options))


def data(made):
    """The numbers the script works with."""
    return json.loads(re.search(r"const data = (.*);\n", made.html).group(1))


class Reader(html.parser.HTMLParser):
    """Collects the elements and checks that they are nested."""

    def __init__(self, text):
        super().__init__()
        self.open, self.found = [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        if tag not in ("img", "input"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_it_is_whole_html_that_asks_for_nothing():
    made = film(captions=["a", "b", "c", "d"])
    found = Reader(made.html).found
    links = [
        v
        for _, attributes in found
        for k, v in attributes.items()
        if k in ("src", "href", "srcset", "action")
    ]
    assert len(links) == 1 and links[0].startswith("data:image/png;base64,")
    code = re.sub(r"const data = .*", "", made.html)
    assert not re.search(r"https?:|@import|url\(|fetch|XMLHttpRequest|import ", code)
    assert not any("id" in attributes for _, attributes in found), "two copies on a page share no id"


def test_the_same_data_give_the_same_page_and_other_data_another_key():
    key = re.compile(r'data-mgp="(\w+)"')
    assert film().html == film().html
    assert key.search(film().html).group(1) != key.search(film(alt="Another.").html).group(1)
    assert "0x" not in repr(film())
    assert repr(film()) == f"Player('Dawn', 4 steps, {round(film().nbytes / 1000)} kB)"


def test_words_of_the_reader_are_not_markup():
    evil = '</script><img src=x onerror="alert(1)"> & $key ${x} \u2028'
    made = film(
        title=evil, alt=evil, xlabel=evil, captions=[evil] * 4, ylabels=evil, curves={evil: [1, 2, 3, 4]},
        frames={evil: pictures()},
    )  # fmt: skip
    found = Reader(made.html).found
    assert [attributes["alt"] for tag, attributes in found if tag == "img"] == [evil]
    assert data(made)["captions"] == [evil] * 4
    assert sum(tag == "script" for tag, _ in found) == 1


def test_pictures_come_out_as_they_went_in():
    frames = pictures()
    made = film(telling=2)
    inside = data(made)["frames"][0]
    assert inside[2] == "", "the telling picture stands in the page, once"
    inside[2] = re.search(r'src="data:image/png;base64,([^"]*)"', made.html).group(1)
    for png, frame in zip(inside, frames, strict=True):
        np.testing.assert_array_equal(
            np.asarray(Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")), frame
        )


def test_a_png_is_taken_as_it_is():
    file = io.BytesIO()
    Image.fromarray(pictures()[0]).save(file, "PNG")
    made = film(frames={"map": [file.getvalue()] * 4})
    assert base64.b64decode(data(made)["frames"][0][0]) == file.getvalue()


def test_a_picture_of_many_colours_keeps_its_look_in_few():
    ramp = np.linspace(0, 255, 60 * 90 * 3).reshape(60, 90, 3).astype(np.uint8)
    made = film(frames={"map": [ramp] * 4})
    png = Image.open(io.BytesIO(base64.b64decode(data(made)["frames"][0][0])))
    assert len(png.getcolors()) <= 128
    assert np.abs(np.asarray(png.convert("RGB")).astype(int) - ramp).max() <= 4


def test_the_script_gets_positions_and_words():
    made = film(
        curves={"loss": [4.0, 2.0, 1.0, np.nan], "count": [1, 20, 300, 4000]},
        ylabels={"loss": "a", "count": "b"},
    )
    inside = data(made)
    assert inside["steps"] == ["0", "1", "10", "100"]
    assert inside["values"] == [["4", "2", "1", "–"], ["1", "20", "300", "4,000"]]
    assert inside["x"] == sorted(inside["x"]) and inside["y"][0][3] is None
    assert inside["y"][0][:3] == sorted(inside["y"][0][:3]), "a falling loss goes down the page"
    assert inside["said"][3] == "training step 100; loss –; count 4,000"
    drawn = [attributes for tag, attributes in Reader(made.html).found if tag == "circle"]
    assert "display:none" in drawn[0]["style"] and float(drawn[1]["cy"]) == inside["y"][1][3]


def test_curves_with_one_label_share_a_panel():
    curves = {"train": [1, 2, 3, 4], "regions": [5, 6, 7, 8], "test": [1, 2, 2, 2]}
    made = film(curves=curves, ylabels={"train": "accuracy", "regions": "number", "test": "accuracy"})
    drawings = [
        attributes["aria-label"]
        for tag, attributes in Reader(made.html).found
        if tag == "svg" and "role" in attributes
    ]
    assert drawings == [
        "accuracy over training step. train: 1 at 0, 4 at 100. test: 1 at 0, 2 at 100.",
        "number over training step. regions: 5 at 0, 8 at 100.",
    ]
    assert data(made)["values"] == [["1", "2", "3", "4"], ["1", "2", "2", "2"], ["5", "6", "7", "8"]]
    assert film(curves=curves).html.count('role="img"') == 1


def test_seeds_are_thin_lines_around_their_median():
    made = film(curves={"accuracy": [[0, 0, 0, 0], [1, 2, 3, 4], [9, 9, 9, 9]]})
    assert made.html.count('class="mgp-seed"') == 3
    assert data(made)["values"] == [["1", "2", "3", "4"]]
    assert "accuracy (median of 3)" in made.html


def test_a_gap_in_a_curve_is_a_gap():
    made = film(curves={"accuracy": [0.0, np.nan, 0.5, 1.0]})
    path = re.search(r'class="mgp-curve" [^>]*d="(M48[^"]*)"', made.html).group(1)
    assert re.sub(r"[\d. -]", "", path) == "MML"


def test_the_last_picture_is_the_telling_one_unless_said():
    assert data(film())["telling"] == 3
    assert data(film(telling=0))["telling"] == 0
    assert data(film(telling=np.int64(1)))["telling"] == 1


def test_pictures_without_curves():
    made = film(steps=[0.0, 0.5, 1.0], curves={}, xlabel="angle")
    assert data(made)["said"] == ["angle 0", "angle 0.5", "angle 1"]
    assert 'class="mgp-panel"' not in made.html


def test_a_usual_film_is_far_below_the_limit():
    rng = np.random.default_rng(0)
    picture = np.full((320, 320, 3), 240, dtype=np.uint8)
    for _ in range(60):  # lines across a picture
        a, b = rng.integers(0, 320, (2, 2))
        t = np.linspace(0, 1, 640)[:, None]
        picture[tuple(np.rint(a + t * (b - a)).astype(int).clip(0, 319).T)] = 120
    made = film(steps=range(30), frames={"map": [picture] * 30}, curves={"accuracy": np.linspace(0, 1, 30)})
    assert made.nbytes < LARGEST / 2
    assert made.nbytes == len(made._repr_html_().encode())


# ---- axes --------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=30, unique=True).map(sorted))
def test_steps_keep_their_order_on_the_axis(steps):
    steps = np.array(steps)
    scale = _step_scale(steps)
    across = scale(steps)
    assert across[0] == 0 and across[-1] == 1 and (np.diff(across) >= 0).all()
    assert ((scale(scale.ticks) >= -1e-9) & (scale(scale.ticks) <= 1 + 1e-9)).all()


@given(st.lists(st.floats(-1e9, 1e9, allow_subnormal=False), min_size=1, max_size=30))
def test_values_lie_inside_their_axis(values):
    scale = _value_scale(np.array(values))
    assert ((scale(values) >= 0) & (scale(values) <= 1)).all()
    assert ((scale(scale.ticks) >= 0) & (scale(scale.ticks) <= 1)).all()


def test_steps_over_decades_are_logarithmic_and_step_0_has_its_place():
    scale = _step_scale(np.array([0, 1, 10, 100, 1000, 10_000]))
    assert [_number(tick) for tick in scale.ticks] == ["0", "1", "10", "100", "1,000", "10,000"]
    across = scale([0, 1, 10, 100, 1000, 10_000])
    np.testing.assert_allclose(np.diff(across)[1:], 0.23, atol=0.05)
    assert across[1] > 0.05, "room for both 0 and 1"
    even = _step_scale(np.array([0, 50, 100, 150]))
    np.testing.assert_allclose(even([0, 50, 100, 150]), [0, 1 / 3, 2 / 3, 1])
    without_zero = _step_scale(np.array([1, 10, 100]))
    np.testing.assert_allclose(without_zero([1, 10, 100]), [0, 0.5, 1])


def test_a_loss_over_decades_is_logarithmic():
    scale = _value_scale(np.array([2.0, 1e-4]))
    assert [_number(tick) for tick in scale.ticks] == ["0.0001", "0.001", "0.01", "0.1", "1"]


WORDS = {0: "0", 1234567: "1,234,567", 0.98765: "0.988", 999.7: "1,000", 1234.5: "1,230", -0.5: "-0.5"}
WORDS |= {1.2e-5: "0.000012", 2.5e-7: "0.00000025", float("nan"): "–"}


@pytest.mark.parametrize(("value", "word"), WORDS.items())
def test_numbers_are_written_out(value, word):
    assert _number(value) == word


def test_values_of_a_curve_have_the_same_decimals_where_that_is_enough():
    assert _words(np.array([0.5, 0.983, 1.0])) == ["0.50", "0.98", "1.00"]
    assert _words(np.array([2.3, 0.1, 0.000123, 0.0])) == ["2.30", "0.10", "0.000123", "0.00"]
    assert _words(np.array([1200.0, 3.0])) == ["1,200", "3"]


# ---- what it refuses ---------------------------------------------------------------------------------------


def test_steps_that_do_not_increase():
    with pytest.raises(ValueError, match=r"at least two steps \(T,\), got the shape \(0,\)"):
        film(steps=[])
    with pytest.raises(ValueError, match=r"at least two steps \(T,\), got the shape \(1,\)"):
        film(steps=[1])
    with pytest.raises(ValueError, match=r"steps must be finite and increase .*\[0\.0, 5\.0, 5\.0\]"):
        film(steps=[0, 5, 5])
    with pytest.raises(ValueError, match="steps must be finite"):
        film(steps=[0, 5, np.inf])


def test_curves_that_do_not_fit():
    with pytest.raises(
        ValueError, match=r"curve 'loss': expected \(4,\) or \(seeds, 4\), .* got the shape \(3,\)"
    ):
        film(curves={"loss": [1, 2, 3]})
    with pytest.raises(ValueError, match=r"curve 'loss': .* got the shape \(4, 5\)"):
        film(curves={"loss": np.zeros((4, 5))})
    with pytest.raises(ValueError, match="curve 'loss' has no finite value. Leave it out."):
        film(curves={"loss": [np.nan] * 4})


def test_frames_that_do_not_fit():
    with pytest.raises(ValueError, match="frames is empty. Give at least one list of pictures"):
        film(frames={})
    with pytest.raises(ValueError, match="frames 'map': expected a picture for each of the 4 steps, got 3"):
        film(frames={"map": pictures(3)})
    with pytest.raises(
        ValueError, match=r"frames 'map': expected pictures of one size, got \(30, 20\) and \(30, 21\)"
    ):
        film(frames={"map": [*pictures(3), *pictures(1, height=21)]})
    with pytest.raises(ValueError, match=r"expected uint8 pictures \(H, W, 3\), got float64 \(2, 2, 3\)"):
        film(frames={"map": [np.zeros((2, 2, 3))] * 4})
    with pytest.raises(ValueError, match=r"expected uint8 pictures \(H, W, 3\), got uint8 \(2, 2\)"):
        film(frames={"map": [np.zeros((2, 2), dtype=np.uint8)] * 4})
    with pytest.raises(ValueError, match=r"frames 'map': the bytes b'GIF89a'... are no PNG"):
        film(frames={"map": [b"GIF89a..."] * 4})


def test_words_that_do_not_fit():
    with pytest.raises(ValueError, match="expected a caption for each of the 4 steps, got 1"):
        film(captions=["a"])
    with pytest.raises(
        ValueError, match=r"ylabels: expected one text for each of \['accuracy'\], got \['loss'\]"
    ):
        film(ylabels={"loss": "nats"})
    with pytest.raises(ValueError, match=r"alt: expected one text for each of \['map'\], got \[\]"):
        film(alt={})


@pytest.mark.parametrize("alt", ["", "  ", {"map": ""}])
def test_a_picture_without_words_is_refused(alt):
    with pytest.raises(ValueError, match="alt: say in words what a reader should see in 'map'"):
        film(alt=alt)


@pytest.mark.parametrize("telling", [4, -1, 1.5, "first"])
def test_telling_that_is_no_position(telling):
    with pytest.raises(
        ValueError, match=rf"a position in steps, from 0 to 3, got {telling!r}. .*steps.index\(300\)"
    ):
        film(telling=telling)


def test_a_player_that_is_too_large_says_what_to_thin():
    draw = np.random.default_rng(0)
    colours = draw.integers(0, 255, (100, 3), dtype=np.uint8)  # as many as a picture keeps: none are sought
    noise = [colours[draw.integers(100, size=(300, 300))] for _ in range(20)]
    with pytest.raises(
        ValueError, match=r"the player has \d\.\d MB, and at most 1\.5 MB fit on a page"
    ) as caught:
        film(steps=range(20), frames={"noise": noise})
    text = str(caught.value)
    assert re.search(r"20 pictures 'noise' of 300 x 300 pixels take \d\.\d MB", text)
    kept = int(re.search(r"Thin them to about (\d+) steps", text).group(1))
    assert film(steps=range(kept), frames={"noise": noise[:kept]}).nbytes <= LARGEST
