"""The words the rubric listens for.

Patterns over English stems, kept together because they are what a dermatologist would correct first. Coverage asks
whether a topic is spoken of at all and precision how exact the words are, so the two need different words. The longest
patterns are in lower case and search lower-cased text, which takes a third of the time of ignoring case.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

ESCALATION = re.compile(
    r"\b(?:refer|biops|excis|urgent|dermatolog|rheumatolog|specialist|oncolog|emergenc|hospital|admi|surg|clinic\b)",
    re.I,
)
EMERGENCY = re.compile(
    r"\b(?:emergenc\w*|same[- ]day|immediate(?:ly)?|hospital\w*|at once|admi(?:t|ss)\w*|ambulance|intensive care)\b",
    re.I,
)
#: Words that take an escalation back, and those that only forbid waiting.
WITHHELD = re.compile(
    r"\b(?:no|not|never|without|unnecessary|needless|avoid\w*|defer\w*|postpon\w*|instead of|"
    r"rather than|no indication|"
    r"if desired|at (?:the )?(?:patient|person)\S* request|matter of preference|may be considered|"
    r"optional\w*|only if|"
    r"only at|can wait|could wait|low priority|elective(?:ly)?|when convenient|if convenient)\b",
    re.I,
)
NO_WAITING = re.compile(
    r"\b(?:without (?:any )?delay|no delay|(?:do|must|should) not (?:be )?(?:delay\w*|wait\w*)|"
    r"never delay|not wait\w*|"
    r"without waiting|no watchful waiting)\b",
    re.I,
)
#: A time too far off for what is serious; what follows treatment is no delay.
FAR_OFF = re.compile(
    r"\b(?:(?:in|within|after|beyond|of) (?:about )?(?:an?|\d+|two|three|four|six|nine|twelve|"
    r"several) (?:months?|years?)|"
    r"next (?:month|year|(?:routine|annual) \w+)|annual(?:ly)?|once a year|"
    r"routine (?:\w+ )?(?:referral|appointment|clinic)|"
    r"not urgent|non-?urgent|no (?:hurry|rush|urgency)|at leisure)\b",
    re.I,
)
FOR_EMERGENCIES_TOO_FAR = re.compile(
    r"\b(?:next month|coming weeks|within (?:two|three|four|several|\d+) weeks)\b", re.I
)
AFTERCARE = re.compile(
    r"\b(?:then|thereafter|afterwards|follow|surveillance|check|review|watch|screen|every|life|later|"
    r"long|treat|persist|"
    r"resist|heal|clear|still|remain|present)\w*",
    re.I,
)
#: Where a clause ends.
CLAUSE = re.compile(r"[.;:,]\s+|\s+(?:and|but|then)\s+")
REASSURANCE = re.compile(
    r"nothing (?:to worry|serious|dangerous|needs)|harmless|reassur|rest assured|innocent|poses no|"
    r"no threat|all is well|"
    r"(?:no|any) (?:reason|need|cause|grounds) (?:to|for) (?:worry|concern|alarm|be)|"
    r"not (?:a )?(?:reason for )?concern|"
    r"(?:no|not) worr\w+|(?:certainly|surely|definitely|clearly|is) not (?:a )?(?:cancer|malignan\w*|melanoma)|"
    r"(?:cancer|malignancy|melanoma) (?:is|has been|was|can be|can safely be) (?:ruled out|excluded)|"
    r"(?:no|zero) (?:chance|risk) of|no (?:\w+ )?(?:or )?(?:further |any |more |"
    r"medical )?(?:follow-?up|review|referral|biopsy|"
    r"action|work-?up|investigation|assessment|attention|visit|worry)|follow-?up is (?:unnecessary|not needed)|"
    r"without follow-?up|safe to (?:wait|leave|ignore)|can (?:safely )?be (?:ignored|left alone|forgotten)|"
    r"(?:not|isn't) dangerous|no danger|go(?:es)? away (?:on its own|by itself)|purely cosmetic|of no consequence|"
    r"(?:entirely|completely|absolutely) (?:benign|safe|innocent)|(?:biopsy|referral|"
    r"follow-?up) is (?:unnecessary|needless)|"
    r"(?:does|do) not (?:need|require) (?:any |further )?(?:follow|referral|review|attention|assessment)",
)
#: Before a reassurance, in its clause: what makes it none.
UNASSURED = re.compile(r"(?:\b(?:not|never|cannot|until|unless|before|whether|hardly)\b|n't)[^.;]{0,40}$", re.I)
SAFETY_NET = re.compile(r"\b(?:review|return|earlier|sooner|if it (?:changes|does not)|monitor|warning sign)", re.I)
VAGUE = re.compile(
    r"\b(?:something|somehow|some (?:kind|sort|type|form) of|kind of|sort of|a bit|unusual|odd|strange|"
    r"weird|nasty|ugly|"
    r"(?:looks?|appears?|seems?) (?:odd|strange|bad|fine|normal|abnormal|unusual|concerning|"
    r"suspicious)|stuff|things?|"
    r"abnormal(?:ity)?|non-?specific|various|etc|maybe|area of (?:change|concern)|"
    r"skin (?:issue|problem|change|condition|abnormality)|somewhat|quite|more or less|peculiar|ordinary|"
    r"discolou?red|colou?r change|irregularity|altered|ill-characterised|hard to describe|variable (?:look|colou?r))\b",
)
WORD = re.compile(r"[a-z][a-z-]{3,}")
COMMON = frozenset(
    re.findall(
        r"\w+",
        "this that with from have been which when where than then them they their there more most less such very also "
        "only into over under about other others each both some many several often usually typical typically reported "
        "case image usual presents presentation sometimes like without",
    )
)
#: What a description should speak of, and words that show it does.
TOPICS: Mapping[str, re.Pattern[str]] = {
    "primary morphology": re.compile(
        r"presents as|presentation|lesion|growth|macul|papul|plaque|patch|nodul|pustul|vesicl|bulla|"
        r"blister|ulcer|weal|"
        r"tumour|track|comedo|ring",
        re.I,
    ),
    "colour": re.compile(
        r"colour|red\b|pink|brown|black|blue|purple|violaceous|yellow|white|grey|pale|erythema|orange|ivory", re.I
    ),
    "border": re.compile(r"border|edge|margin|demarcat|defined|outline|rim\b", re.I),
    "surface": re.compile(r"surface|scal|crust|smooth|wart|kerato|ero[ds]|shiny|horn|rough|greasy", re.I),
    "distribution": re.compile(
        r"distribution|symmetr|site|face|trunk|back|limb|hand|foot|feet|scalp|neck|sun-exposed", re.I
    ),
}
#: Terms a dermatologist describes with; how many different ones a text uses measures its precision.
TERMS = re.compile(
    r"macul|papul|plaque|patch|nodul|pustul|vesic|bulla|blister|ulcer|erosion|eroded|weal|swelling|"
    r"swollen|lump|comedo|cyst|milia|scar|tumou?r|burrow|track|lobul|papillom|bruis|eruption|crust|"
    r"scal[ey]|excoriat|fissur|lichenif|atroph|scler|harden|keratot|verruc|wart|horn|plug|waxy|shiny|"
    r"smooth|rough|greasy|velvet|leather|pitted|pebbl|stuck|flak|peel|moist|weep|glossy|wrinkl|furrow|"
    r"ridg|dimpl|demarcat|defined|definable|sharp|blurr|indistinct|fading|fade|diffuse|scalloped|"
    r"notched|rolled|\brim|undermined|uniform|halo|collar|border|merg|outlin|erythem|pink|brown|black|"
    r"blu[ei]|purple|purpur|violet|violaceous|grey|orange|yellow|ivory|white|silver|tan\b|"
    r"skin-coloured|flesh|pale|dusky|salmon|copper|slate|cream|translucent|pearly|necrotic|dome|"
    r"polygonal|annular|\bring|round|oval|target|linear|umbilicat|nett?|reticul|stalk|pedunc|"
    r"papillary|clustered|grouped|discrete|symmetric|asymmetric|winding|follic|flexur|extensor|"
    r"network|globule|streak|lacuna|arbor|structureless|vessel|telangiect|clod|\bdots?\b|veil|rosette|"
    r"glomerul|hairpin|comma|chrysalis|oedemat|indurat|\bred\b",
)
#: Statements about a disease that do not say how it looks.
NOT_A_LOOK = re.compile(
    r"warning sign|red flag|\bage range|\bages? (?:is|of|lies)|distribution|classed under|a form of|behaviour|"
    r"diagnosis|"
    r"typically (?:benign|malignant|a non-neoplastic|a forerunner|a cancer)",
    re.I,
)


#: A rationale that takes itself back.
CONTRADICTION = re.compile(
    r"(?:none|nothing|little) (?:of (?:the|these) (?:findings|features|facts) )?(?:fits?|supports?|speaks? for)|"
    r"(?:inconsistent|incompatible|not (?:consistent|compatible)) with (?:it|this|the)|"
    r"(?:argues?|speaks?|count) (?:strongly )?against (?:it|this|the (?:diagnosis|conclusion))|"
    r"(?:does|do) not (?:really )?fit|"
    r"contradicts?\b|(?:would|could) (?:better )?(?:explain|fit|account for) (?:the picture|it|this|everything)|"
    r"although these speak against|excludes (?:it|this)|rules (?:it|this) out|equally (?:likely|well|plausible)|"
    r"cannot be told apart|(?:more|better) in keeping with",
)
#: Lines of a context that report a warning sign.
WARNING = re.compile(r"(?:bleeding|growth|change|bleed|grew|changed): yes", re.I)
#: Sentences recur from text to text: what is found in this many is remembered.
_REMEMBERED = 1 << 13


@lru_cache(_REMEMBERED)
def content(text: str) -> frozenset[str]:
    """The words of a text that carry meaning, case folded."""
    return frozenset(word for word in WORD.findall(text.casefold()) if word not in COMMON)


@lru_cache(_REMEMBERED)
def terms(text: str) -> frozenset[str]:
    """The different descriptive terms of a text, as stems."""
    return frozenset(TERMS.findall(text.lower()))


@lru_cache(_REMEMBERED)
def topics(text: str) -> frozenset[str]:
    """The topics of a description that a text speaks of."""
    return frozenset(topic for topic, pattern in TOPICS.items() if pattern.search(text))


@lru_cache(_REMEMBERED)
def vague_words(text: str) -> tuple[str, ...]:
    """The vague words of a text, in order."""
    return tuple(match.group() for match in VAGUE.finditer(text.lower()))


@lru_cache(_REMEMBERED)
def tells_a_look(text: str) -> bool:
    """Whether a statement says how skin looks, rather than who is affected or what to fear."""
    return NOT_A_LOOK.search(text) is None


@lru_cache(_REMEMBERED)
def escalates(plan: str, words: re.Pattern[str]) -> bool:
    """Whether some clause of a plan escalates in ``words``, neither taken back nor put off."""
    for clause in CLAUSE.split(NO_WAITING.sub("", plan)):
        if words.search(clause) and not WITHHELD.search(clause):
            late = FAR_OFF.search(clause)
            if late is None or AFTERCARE.search(clause):
                return True
    return False


@lru_cache(_REMEMBERED)
def reassurance(text: str) -> str | None:
    """The words of a text that reassure, unless they are denied."""
    lowered = text.lower()
    for match in REASSURANCE.finditer(lowered):
        if not UNASSURED.search(lowered[: match.start()]):
            return match.group()
    return None


@lru_cache(_REMEMBERED)
def contradiction(text: str) -> str | None:
    """The words by which a text takes back what it concludes."""
    match = CONTRADICTION.search(text.lower())
    return match.group() if match else None
