"""Two dermatologists in real browsers: what they did is what is read back, and nothing gives the case away."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from annotators.label_studio.answers import Answers, read_answers
from annotators.label_studio.controls import CHOICES
from annotators.label_studio.server import Server
from schemas.tables import DIMENSIONS
from tests.annotators.label_studio.cases import HOSTILE, TELLING, narrative, project_of
from tests.annotators.label_studio.raters import SUBMIT, UPDATE, Rater, invitation, native

ALL = {f"{name}": score for name, score in zip(DIMENSIONS, (5, 4, 3, 2, 1, 0), strict=True)}


@pytest.fixture(scope="module")
def raters(browser: Any, studio: Server) -> Iterator[tuple[Rater, Rater]]:
    link = invitation(studio)
    pair = Rater(browser, studio, "first@example.org"), Rater(browser, studio, "second@example.org", (1440, 900))
    for rater in pair:
        rater.sign_up(link)
    yield pair
    for rater in pair:
        rater.close()


def scores(*values: int) -> dict[str, int]:
    return dict(zip(DIMENSIONS, values, strict=True))


def shot(rater: Rater, name: str) -> None:
    """Keep a picture for a person to look at, where one is wanted."""
    if folder := os.environ.get("DERMCOT_SCREENSHOTS"):
        rater.page.screenshot(path=str(Path(folder) / f"{name}.png"))


def stored(client: Any, project: int, email: str) -> list[tuple[dict[str, Any], Any]]:
    """Per annotation of one rater, in the order of the tasks: the task's data and what is read back."""
    members = {user.id: user.email for user in client.users.list()}
    found = []
    for task in client.tasks.list(project=project, fields="all"):
        for annotation in task.annotations:
            by = annotation["completed_by"]
            if members[by["id"] if isinstance(by, dict) else by] == email:
                found.append((task.data, read_answers(annotation)))
    return found


def test_two_dermatologists_score_five_cases_each(raters: tuple[Rater, Rater], studio: Server, client: Any) -> None:
    project = project_of(studio, client, "Five cases", [narrative(f"Melanoma {i}") for i in range(5)])
    first, second = raters
    first.open(project)
    shot(first, "case_1366")

    first.score(scores(5, 5, 4, 4, 5, 5))  # one: certified by keys alone
    first.key("decision", "certify")
    first.submit()
    first.ready()

    first.score(scores(4, 3, 4, 3, 4, 0))  # two: a real zero, revised
    first.key("decision", "revise")
    first.critique("Say how soon.")
    shot(first, "revise_1366")
    first.page.focus("[data-testid=htx-textbox-edit-button]")
    first.page.keyboard.press("Space")
    first.page.wait_for_selector("[data-testid=htx-textbox-input]")
    first.page.keyboard.press("Control+End")
    first.page.keyboard.type(" Do so within two weeks.")
    first.page.keyboard.press("Shift+Enter")
    first.submit()
    first.ready()

    first.score(scores(0, 0, 1, 2, 1, 2), mouse=True)  # three: rejected by the mouse, with flags
    first.click("flags", "bad_image")
    first.click("flags", "identifiable_person")
    first.click("decision", "reject")
    first.page.fill("textarea[name=critique]", "Not this lesion.")
    shot(first, "reject_1366")
    first.submit(mouse=True)
    first.ready()

    first.key("accuracy", "3")  # four: begun, then out of the field
    first.key("cannot_judge", "outside_my_field")
    shot(first, "cannot_1366")
    first.submit()
    first.ready()

    first.score(scores(5, 5, 5, 5, 5, 4))  # five: one dimension untouched is refused
    first.key("description_precision", "4")  # the same key again takes the answer back
    first.key("decision", "certify")
    first.page.keyboard.press("Control+Enter")
    first.page.wait_for_selector("text=Precision has no score yet")
    shot(first, "refused_1366")
    first.page.get_by_role("button", name="OK").click()
    first.key("description_precision", "3")
    first.submit()

    answers = [read for _, read in stored(client, project, first.email)]
    assert all(isinstance(read, Answers) for read in answers), answers
    one, two, three, four, five = answers
    assert (one.scores, one.decision) == (scores(5, 5, 4, 4, 5, 5), "certify")
    assert (one.critique, one.corrected, one.flags) == (None, None, ())
    assert (two.scores, two.decision, two.critique) == (scores(4, 3, 4, 3, 4, 0), "revise", "Say how soon.")
    expected = narrative("Melanoma 1")
    assert two.corrected == expected.model_copy(update={"next_step": f"{expected.next_step} Do so within two weeks."})
    assert (three.scores, three.decision) == (scores(0, 0, 1, 2, 1, 2), "reject")
    assert (three.critique, three.flags) == ("Not this lesion.", ("bad_image", "identifiable_person"))
    assert (four.scores, four.decision, four.cannot_judge) == ({}, None, ("outside_my_field",))
    assert (five.scores, five.decision) == (scores(5, 5, 5, 5, 5, 3), "certify")
    assert all(read.seconds is not None and read.seconds > 0 for read in answers)

    second.open(project)  # sees every case afresh, and changes their mind about the fourth
    shot(second, "case_1440")
    for i in range(5):
        assert second.checked() == set()
        if i == 4:
            second.page.click("[data-testid=prev-task]")
            second.page.wait_for_selector(UPDATE)
            second.ready()
            assert native("safety", "2") in second.checked()
            second.key("safety", "0")
            second.submit()
            second.page.click("[data-testid=next-task]")
            second.page.wait_for_selector(SUBMIT)
            second.ready()
        second.score(scores(i, 5 - i, i, 5 - i, i, 5 - i), mouse=i % 2 == 0)
        second.click("decision", "certify")
        second.submit(mouse=i % 2 == 0)
        if i < 4:
            second.ready()
    again = [read.scores for _, read in stored(client, project, second.email)]
    assert again == [scores(i, 0 if i == 3 else 5 - i, i, 5 - i, i, 5 - i) for i in range(5)]


def test_every_key_works_on_the_third_case_too(raters: tuple[Rater, Rater], studio: Server, client: Any) -> None:
    project = project_of(studio, client, "Keys", [narrative(f"Naevus {i}") for i in range(3)])
    rater = raters[0]
    rater.open(project)
    for case in range(3):
        dead = []
        for control, (offered, several) in CHOICES.items():
            for choice in offered if control != "cannot_judge" or case == 2 else ():
                rater.key(control, choice)
                if native(control, choice) not in rater.checked():
                    dead.append((case, control, choice))
                if several:
                    rater.key(control, choice)
        assert dead == []
        rater.score(scores(4, 4, 3, 2, 1, 0))
        rater.key("decision", "certify")
        rater.submit()
        if case < 2:
            rater.ready()
    assert [tuple(read.scores.values()) for _, read in stored(client, project, rater.email)] == [(4, 4, 3, 2, 1, 0)] * 3


def test_hostile_texts_are_shown_and_never_run(raters: tuple[Rater, Rater], studio: Server, client: Any) -> None:
    texts = [narrative(f"Melanoma {i}", extra=(text,)) for i, text in enumerate(HOSTILE)]
    project = project_of(studio, client, "Hostile", [*texts, narrative(long=True)], raters=1)
    rater = raters[1]
    rater.open(project)
    for text in HOSTILE:
        shown = rater.page.inner_text(".dx-story")
        assert text in shown
        rater.score(ALL)
        rater.key("decision", "revise")
        rater.page.wait_for_timeout(150)
        assert text in rater.page.inner_text(".dx-revise")
        assert rater.page.evaluate("window.pwned") is None
        assert rater.page.locator(".dx-story img, .dx-story iframe, .dx-story script, .dx-revise img").count() == 0
        rater.key("decision", "certify")
        rater.submit()
        rater.ready()
    assert len(rater.page.inner_text(".dx-story")) > 90_000
    assert_nothing_is_cut_off(rater)
    rater.page.goto(f"{studio.url}/projects/{project}/data")
    rater.page.wait_for_timeout(1500)
    assert rater.page.evaluate("window.pwned") is None


OUTSIDE = """
() => {
  const bar = document.querySelector('[data-testid^=bottombar-]').getBoundingClientRect();
  const seen = [...document.querySelectorAll('.dx label, .dx .lsf-image, .dx .lsf-toolbar button, .dx textarea')]
    .map(e => [e.name || e.innerText || e.className, e.getBoundingClientRect()]).filter(([, r]) => r.width);
  const out = seen.filter(([, r]) => r.left < 0 || r.top < 0 || r.right > innerWidth || r.bottom > bar.top + 1);
  const scrolled = [...document.querySelectorAll('*')].filter(e => !e.closest('.dx') && e.querySelector('.dx')
    && /auto|scroll/.test(getComputedStyle(e).overflowY) && e.scrollHeight > e.clientHeight + 2);
  return [seen.length, bar.bottom <= innerHeight && bar.right <= innerWidth,
          [...out.map(([name]) => name), ...scrolled.map(e => e.className)]];
}
"""


def assert_nothing_is_cut_off(rater: Rater) -> None:
    """Every control lies inside the window, above the bar with the button, and the page cannot be scrolled."""
    shown, bar_inside, outside = rater.page.evaluate(OUTSIDE)
    assert shown >= 36 + 3 + 5 + 2
    assert bar_inside
    assert outside == []
    frame, image = (rater.page.locator(f".dx-look .lsf-image{what}").first.bounding_box() for what in ("", " img"))
    assert all(abs(image[side] - frame[side]) <= 2 for side in image), "the edges of the image are cut off"


def test_a_note_is_shown_at_once_and_feedback_after_the_decision(
    raters: tuple[Rater, Rater], studio: Server, client: Any
) -> None:
    note, feedback = ("\n".join([first, *HOSTILE, "long words " * 60]) for first in ("A note.", "Practice."))
    told = {"note": note, "feedback": feedback}
    project = project_of(studio, client, "Told", [narrative(), narrative()], **told)
    rater = raters[0]
    rater.open(project)
    boxes = rater.page.locator(".dx-told")
    top = "document.querySelector('.dx-story').getBoundingClientRect().top"
    before = rater.page.evaluate(top)
    rater.score(ALL)
    rater.key("decision", "certify")
    rater.page.wait_for_timeout(200)
    assert [box.is_visible() for box in boxes.all()] == [False, False]  # nothing is told, and nothing moves
    assert rater.page.evaluate(top) == before
    rater.submit()
    rater.ready()
    assert [box.is_visible() for box in boxes.all()] == [True, False]
    assert feedback.split()[0] not in rater.page.inner_text(".dx")
    rater.score(ALL)
    for decision in ("certify", "revise", "reject"):
        rater.key("decision", decision)
        rater.page.wait_for_timeout(200)
        assert [box.is_visible() for box in boxes.all()] == [True, True]
        assert [box.inner_text().split() for box in boxes.all()] == [text.split() for text in told.values()]
        assert_nothing_is_cut_off(rater)
        shot(rater, f"told_{decision}_1366")
    rater.key("decision", "reject")  # the same key takes the decision back
    rater.page.wait_for_timeout(200)
    assert not boxes.last.is_visible()
    assert rater.page.evaluate("window.pwned") is None
    assert rater.page.locator(".dx-told img, .dx-told iframe, .dx-told script, .dx-told a").count() == 0


@pytest.mark.parametrize("size", [(1366, 768), (1440, 900), (1920, 1080)])
def test_everything_fits_the_screen(
    raters: tuple[Rater, Rater], studio: Server, client: Any, size: tuple[int, int]
) -> None:
    project = project_of(studio, client, f"Fits {size[0]}", [narrative(), narrative()])
    rater = raters[1]
    rater.page.set_viewport_size({"width": size[0], "height": size[1]})
    rater.open(project)
    for decision in ("certify", "revise", "reject"):
        rater.score(ALL)
        rater.key("decision", decision)
        rater.page.wait_for_timeout(300)
        assert_nothing_is_cut_off(rater)
        shot(rater, f"{decision}_{size[0]}")
        rater.score(ALL)  # the same keys take the scores back
    rater.score(ALL)
    rater.key("decision", "certify")
    rater.submit()
    rater.ready()
    assert_nothing_is_cut_off(rater)  # a portrait
    shot(rater, f"portrait_{size[0]}")
    assert rater.page.locator(".dx-look .lsf-image").first.bounding_box()["height"] > 0.6 * size[1]


def test_the_meaning_of_a_score_stands_under_its_row(raters: tuple[Rater, Rater], studio: Server, client: Any) -> None:
    from schemas.scoring import scoring_scale

    project = project_of(studio, client, "Meaning", [narrative()])
    rater = raters[0]
    rater.open(project)
    for name, scale in scoring_scale().items():
        for score, anchor in list(enumerate(scale.anchors))[::2]:
            rater.page.hover(f'label:has(input[name="{native(name, str(score))}"])')
            assert rater.page.get_by_text(anchor, exact=True).is_visible()
        rater.page.mouse.move(5, 5)
        assert not rater.page.get_by_text(scale.anchors[5], exact=True).is_visible()
        rater.key(name, "5")
        assert rater.page.get_by_text(scale.anchors[5], exact=True).is_visible()


def test_by_the_tab_key_alone(raters: tuple[Rater, Rater], studio: Server, client: Any) -> None:
    project = project_of(studio, client, "Tab", [narrative(), narrative()])
    rater = raters[0]
    rater.open(project)
    focused = "document.activeElement.name || document.activeElement.getAttribute('data-testid')"
    wanted = [native("decision", "reject"), "critique", *(native(name, "2") for name in DIMENSIONS)]
    for name in wanted:
        for _ in range(60):
            rater.page.keyboard.press("Tab")
            if rater.page.evaluate(focused) == name:
                break
        assert rater.page.evaluate(focused) == name
        rater.page.keyboard.type("Wrong.") if name == "critique" else rater.page.keyboard.press("Space")
    rater.submit()
    [(_, read)] = stored(client, project, rater.email)
    assert (read.decision, read.critique, read.scores) == ("reject", "Wrong.", scores(2, 2, 2, 2, 2, 2))


def test_nothing_gives_the_case_away_and_nothing_leaves_the_machine(
    raters: tuple[Rater, Rater], studio: Server, client: Any
) -> None:
    project = project_of(studio, client, "Quiet", [narrative()])
    rater = raters[0]
    rater.bodies.clear()
    rater.open(project)
    told = rater.page.content() + "".join(rater.bodies) + "".join(rater.asked)
    assert "data/local-files" in told
    assert [word for word in TELLING if word.casefold() in told.casefold()] == []
    [task] = client.tasks.list(project=project, fields="all")
    assert set(task.data) == {
        "key", "image", "note", "feedback", "context", "findings", "differential", "conclusion", "limitations",
        "next_step",
    }  # fmt: skip
    assert re.fullmatch("[0-9a-f]{32}", task.data["key"])
    assert re.search(r"d=images/[0-9a-f]{32}\.jpg$", task.data["image"])
    for other in raters:
        local = {urlsplit(url).hostname for url in other.asked if not url.startswith(("data:", "blob:"))}
        assert local == {"127.0.0.1"}
