"""The words the rubric listens for.

Patterns over English stems, kept together because they are what a dermatologist would correct first. Coverage asks
whether a topic is spoken of at all and precision how exact the words are, so the two need different words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

ESCALATION = re.compile(
    r"\b(?:refer|biops|excis|urgent|dermatolog|rheumatolog|specialist|oncolog|emergenc|hospital|admi)", re.I
)
EMERGENCY = re.compile(r"\b(?:emergenc|same day|immediate|hospital|at once|admi)", re.I)
NEGATED = re.compile(r"\b(?:no|not|without|never|needless)\b[^.;,]{0,40}", re.I)
REASSURANCE = re.compile(
    r"nothing (?:to worry|serious|dangerous)|harmless|reassur|can (?:safely )?be ignored|(?:not|isn't) dangerous|"
    r"no danger|"
    r"no (?:need for )?(?:further |any )?(?:follow-up|review|referral|action|work-?up|investigation|assessment)|"
    r"no (?:cause|reason) for (?:concern|alarm)|no risk|(?:cancer|melanoma|malignancy) is (?:ruled out|excluded)|"
    r"(?:does|do) not (?:need|require) (?:any |further )?(?:follow|referral|review|attention|assessment)",
    re.I,
)
#: A referral that is not to be hurried, which a serious diagnosis does not allow.
UNHURRIED = re.compile(
    r"\b(?:not urgent|non-?urgent|no (?:hurry|rush|urgency)|when convenient|at leisure|if desired|optional\w*|"
    r"routine referral|(?:refer\w*|seen|review\w*) (?:in|after) (?:a|one|\d+|six|twelve) (?:months?|years?))\b",
    re.I,
)
SAFETY_NET = re.compile(r"\b(?:review|return|earlier|sooner|if it (?:changes|does not)|monitor|warning sign)", re.I)
VAGUE = re.compile(
    r"\b(?:something|somehow|some (?:kind|sort|type|form) of|kind of|sort of|a bit|unusual|odd|strange|"
    r"weird|nasty|ugly|"
    r"(?:looks?|appears?|seems?) (?:odd|strange|bad|fine|normal|abnormal|unusual|concerning|suspicious)|stuff|things?|"
    r"abnormal(?:ity)?|non-?specific|various|etc|maybe|area of (?:change|concern)|"
    r"skin (?:issue|problem|change|condition|abnormality))\b",
    re.I,
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
        r"presents as|presentation|lesion|growth|macul|papul|plaque|patch|nodul|pustul|vesicl|bulla|blister|ulcer|weal|"
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
    r"swollen|lump|comedo|cyst|milia|scar|tumou?r|burrow|track|lobul|papillom|bruis|band|eruption|"
    r"crust|scal[ey]|excoriat|fissur|lichenif|atroph|scler|harden|keratot|verruc|wart|horn|plug|waxy|"
    r"shiny|smooth|rough|greasy|velvet|leather|pitted|pebbl|stuck|flak|peel|moist|weep|glossy|thick|"
    r"thin|wrinkl|furrow|ridg|texture|flat|level|raised|dimpl|open|"
    r"demarcat|defined|definable|sharp|blurr|indistinct|fading|fade|diffuse|irregular|regular|"
    r"scalloped|notched|rolled|\brim|undermined|even|uniform|halo|collar|border|merg|outlin|"
    r"erythem|redd?|pink|brown|black|blu[ei]|purple|purpur|violet|violaceous|grey|orange|yellow|"
    r"ivory|white|silver|tan\b|skin-coloured|flesh|pale|dusky|salmon|copper|slate|cream|translucent|"
    r"pearly|necrotic|pigment|dark|bright|"
    r"dome|polygonal|annular|\bring|round|oval|target|linear|umbilicat|nett?|reticul|stalk|pedunc|"
    r"papillary|clustered|grouped|discrete|symmetric|asymmetric|winding|follic|flexur|extensor|small|"
    r"tiny|large|"
    r"network|globule|streak|lacuna|arbor|structureless|vessel|telangiect|clod|\bdots?\b|veil|"
    r"rosette|glomerul|hairpin|comma|chrysalis|oedemat|indurat",
    re.I,
)
#: Statements about a disease that do not say how it looks.
NOT_A_LOOK = re.compile(
    r"warning sign|red flag|\bage range|\bages? (?:is|of|lies)|distribution|classed under|a form of|behaviour|"
    r"diagnosis|"
    r"typically (?:benign|malignant|not a growth|a forerunner|a cancer)",
    re.I,
)


#: Sentences recur from text to text: what is found in this many is remembered.
_REMEMBERED = 1 << 13


@lru_cache(_REMEMBERED)
def content(text: str) -> frozenset[str]:
    """The words of a text that carry meaning, case folded."""
    return frozenset(word for word in WORD.findall(text.casefold()) if word not in COMMON)


@lru_cache(_REMEMBERED)
def terms(text: str) -> frozenset[str]:
    """The different descriptive terms of a text, as stems."""
    return frozenset(match.casefold() for match in TERMS.findall(text))


@lru_cache(_REMEMBERED)
def topics(text: str) -> frozenset[str]:
    """The topics of a description that a text speaks of."""
    return frozenset(topic for topic, pattern in TOPICS.items() if pattern.search(text))


@lru_cache(_REMEMBERED)
def vague_words(text: str) -> tuple[str, ...]:
    """The vague words of a text, in order."""
    return tuple(match.group() for match in VAGUE.finditer(text))


@lru_cache(_REMEMBERED)
def tells_a_look(text: str) -> bool:
    """Whether a statement says how skin looks, rather than who is affected or what to fear."""
    return NOT_A_LOOK.search(text) is None
