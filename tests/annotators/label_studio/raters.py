"""A dermatologist in a browser: signs up by invitation, scores by keys or by mouse, submits, comes back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import httpx

from annotators.label_studio.controls import CHOICES, KEYS
from annotators.label_studio.server import Server
from schemas.scoring import scoring_scale

FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)  # fmt: skip
PASSWORD = "only for this test 1"
SUBMIT = "[data-testid=bottombar-submit-button]"
INSTRUCTION = ".lsf-modal-ls_visible"
UPDATE = "[data-testid=bottombar-update-button]"


def invitation(server: Server) -> str:
    """The address at which new members sign up."""
    with httpx.Client(base_url=server.url, trust_env=False, timeout=30) as http:
        access = http.post("/api/token/refresh", json={"refresh": server.token}).json()["access"]
        told = http.get("/api/invite", headers={"Authorization": f"Bearer {access}"}).json()
    return str(server.url + re.sub(r"^https?://[^/]+", "", told["invite_url"]))


class Rater:
    """One member in a browser window of their own; ``asked`` holds every address the window asked for."""

    def __init__(self, browser: Any, server: Server, email: str, size: tuple[int, int] = (1366, 768)) -> None:
        self.server = server
        self.email = email
        self.asked: list[str] = []
        self.bodies: list[str] = []
        self.instruction = ""
        self.context = browser.new_context(viewport={"width": size[0], "height": size[1]})
        self.context.set_default_timeout(60_000)
        self.page = self.context.new_page()
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("response", self._note)

    def _note(self, response: Any) -> None:
        if re.search(r"/api/(tasks|projects/\d+/next|dm)", response.url):
            try:
                self.bodies.append(response.text())
            except Exception:  # a body that is gone by now is not of interest
                return

    def sign_up(self, link: str) -> None:
        self.page.goto(link)
        self.page.fill("input[name=email]", self.email)
        self.page.fill("input[name=password]", PASSWORD)
        self.page.click("button[type=submit]")
        self.page.wait_for_url(re.compile(r"/(projects/?)?(\?.*)?$"))

    def open(self, project: int) -> None:
        self.page.goto(f"{self.server.url}/projects/{project}/data?labeling=1")
        self.page.wait_for_selector(f"{SUBMIT}, {UPDATE}")
        self.page.wait_for_selector(INSTRUCTION)
        self.instruction = self.page.inner_text(INSTRUCTION)
        self.page.keyboard.press("Escape")
        self.page.wait_for_selector(INSTRUCTION, state="hidden")
        self.ready()

    def ready(self) -> None:
        """Wait until the case is shown with its image."""
        self.page.wait_for_function(
            "() => { const i = document.querySelector('.dx-look img'); return i && i.complete && i.naturalWidth > 0 }"
        )
        self.page.wait_for_timeout(250)

    def key(self, control: str, choice: str) -> None:
        """Answer by the key of a choice."""
        self.page.keyboard.press(pressed(KEYS[control][CHOICES[control][0].index(choice)]))

    def click(self, control: str, choice: str) -> None:
        """Answer by the mouse."""
        self.page.click(f'label:has(input[name="{native(control, choice)}"])')

    def score(self, scores: Mapping[str, int], *, mouse: bool = False) -> None:
        for name, score in scores.items():
            (self.click if mouse else self.key)(name, str(score))

    def checked(self) -> set[str]:
        names = self.page.evaluate("[...document.querySelectorAll('.dx input:checked')].map(e => e.name)")
        return set(names)

    def critique(self, text: str) -> None:
        self.page.focus("textarea[name=critique]")
        self.page.keyboard.type(text)
        self.page.keyboard.press("Tab")

    def submit(self, *, mouse: bool = False) -> dict[str, Any]:
        """Submit or update, and return what the server stored."""
        with self.page.expect_response(
            lambda r: re.search(r"/annotations", r.url) is not None and r.request.method in ("POST", "PATCH")
        ) as caught:
            if mouse:
                self.page.click(f"{SUBMIT}, {UPDATE}")
            else:
                self.page.keyboard.press("Control+Enter")
        stored: dict[str, Any] = caught.value.json()
        if caught.value.request.method == "POST":  # the next case, or word that there is none
            self.page.wait_for_function("() => document.querySelector('.dx input:checked') === null")
        self.page.wait_for_timeout(200)
        return stored

    def close(self) -> None:
        self.context.close()


def native(control: str, choice: str) -> str:
    """The browser's name of a choice: its words on the screen."""
    from annotators.label_studio.controls import CANNOT_JUDGE, DECISION_WORDS, FLAGS

    scale = scoring_scale()
    if control in scale:
        return f"{scale[control].name} {choice}"
    return {**DECISION_WORDS, **{name: words for name, (words, _) in {**FLAGS, **CANNOT_JUDGE}.items()}}[choice]


def pressed(key: str) -> str:
    """A key of the screen as Playwright presses it."""
    return "Shift+" + key[-1].upper() if key.startswith("shift+") else key
