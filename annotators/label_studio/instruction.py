"""What raters read before their first case: how to use the scale, two worked examples, the keys, when to flag.

Label Studio shows it as HTML, so every text that comes from elsewhere is escaped here.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from annotators.label_studio.controls import CANNOT_JUDGE, DECISION_WORDS, DECISIONS, FLAGS, KEYS
from schemas.intended_use import intended_use
from schemas.scoring import scoring_scale

_HOW = (
    "Look at the image first, form your own opinion, then read the text beside it.",
    "Give each of the six scores for itself. A wrong diagnosis costs accuracy; it costs coherence only if the text "
    "does not lead to it.",
    "5 is for a text you would have been content to write, not for a perfect one; 0 is a real score, for what is "
    "empty, off topic or unusable.",
    "Between two scores, read the sentence under the row and take the higher one only if every word of it holds.",
    "Judge what stands there. How long it is, how it sounds and who may have written it do not count.",
    "Decide last. A text with one unsafe sentence is revised or rejected, however good the rest.",
)
_TOLD = (
    "The first cases are practice and do not count. Some of them have a fault put in on purpose: once you have "
    "decided, the screen says which, or that there is none. Change your answer if you like, then submit.",
    "A note above the text is meant for you: what others found wrong, where you are asked to decide between them, or "
    "a reminder to pause.",
    "Pause when you are reminded, or earlier. What you submitted is kept, what you began is kept as a draft, and the "
    "next case waits.",
)
_EXAMPLES = (
    (
        "A pearly papule with branching vessels on the nose of a woman of 71. The text says basal cell carcinoma, "
        "names the vessels, weighs a fibrous papule and a naevus, and advises excision; it is silent on how soon.",
        "Accuracy 5, safety 4 (a time limit is missing), groundedness 5, coverage 4 (follow-up is thin), coherence 5, "
        "precision 5. Revise, critique: say within which time the lesion should be excised.",
    ),
    (
        "A brown patch with three colours and a blue-white veil. The text says seborrhoeic keratosis, tells of "
        "milia-like cysts that nobody can see, and calls the lesion harmless.",
        "Accuracy 1, safety 1 (a likely melanoma is waved through), groundedness 1 (the cysts are made up), coverage "
        "2, coherence 3 (it follows from what was made up), precision 3. Reject, critique: melanoma is not considered.",
    ),
)
_ROWS = (
    ("Scores", "the small letter beside each number; ⇧ means together with Shift; in the first row the number itself"),
    ("Submit", "Ctrl+Enter, after leaving a text field with Tab"),
    ("Corrected text", "Tab to the pencil, Space opens it, Shift+Enter keeps the change; Esc and Tab discard it"),
    ("Image", "Ctrl and the mouse wheel zoom, H moves, the buttons beside it turn and brighten it"),
    ("Change an earlier answer", "the arrow to the left, then Update"),
)


def expert_instruction() -> str:
    """The instruction of a project, as HTML without scripts, styles or addresses."""
    scale = "".join(
        f"<p><b>{escape(dimension.name)}: {escape(dimension.question)}</b></p>"
        + _list(f"<b>{score}</b> {escape(anchor)}" for score, anchor in reversed(list(enumerate(dimension.anchors))))
        for dimension in scoring_scale().values()
    )
    examples = "".join(f"<p><i>{escape(case)}</i><br>{escape(scored)}</p>" for case, scored in _EXAMPLES)
    keys = [
        *(f"<b>{escape(what)}</b>: {escape(how)}" for what, how in _ROWS),
        *(_key(DECISION_WORDS[name], KEYS["decision"][i], DECISIONS[name]) for i, name in enumerate(DECISIONS)),
    ]
    flags = [
        _key(words, key, hint)
        for name, choices in (("flags", FLAGS), ("cannot_judge", CANNOT_JUDGE))
        for (words, hint), key in zip(choices.values(), KEYS[name], strict=True)
    ]
    use = "".join(f"<p>{escape(paragraph)}</p>" for paragraph in intended_use().split("\n\n"))
    return (
        f"<h3>How to score</h3>{_list(escape(line) for line in _HOW)}"
        f"<br><h3>Two examples</h3>{examples}"
        f"<br><h3>Practice, notes and pauses</h3>{_list(escape(line) for line in _TOLD)}"
        f"<br><h3>Keys</h3>{_list(keys)}"
        f"<br><h3>When to flag</h3>{_list(flags)}"
        f"<br><h3>The scale</h3>{scale}"
        f"<br><h3>What this is for</h3>{use}"
    )


def _key(words: str, key: str, hint: str) -> str:
    return f"<b>{escape(words)}</b> [{escape(key.upper())}]: {escape(hint)}"


def _list(items: Iterable[str]) -> str:
    return "".join(f"<p>• {item}</p>" for item in items)  # Label Studio shows lists without bullets or space
