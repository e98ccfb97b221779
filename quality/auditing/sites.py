"""Parts of the body: the words for them in a text, what a label implies, and whether the two can be one picture."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping

from quality.auditing.findings import Finding, finding
from quality.auditing.narrative_text import NarrativeText
from quality.reading.segments import Sentence
from schemas.taxonomy import Taxonomy

#: region -> words that name it.
REGIONS: Mapping[str, str] = {
    "scalp": r"scalp|hairline|vertex|occipital|occiput",
    "upper_face": r"forehead|brows?|eyebrows?|glabella|temples?",
    "eye": r"eyelids?|periorbital|eyelash(?:es)?|canthus|lid margins?|(?:around|near|beneath|under|below) the eyes?|"
    r"orbital",
    "mid_face": r"cheeks?|nose|nasal|nasolabial(?: folds?)?|malar|nostrils?",
    "mouth": r"lips?|perioral|mouth|oral|tongue|gums?|gingiva\w*|buccal|palate|vermilion",
    "chin": r"chin|jaw(?:line)?|beard(?: area)?|mandib\w+",
    "face": r"face|facial",
    "ear": r"ears?|earlobes?|auricular|pinna|helix",
    "neck": r"neck|nape",
    "trunk": r"chest|back|trunk|abdomen|abdominal|torso|flanks?|shoulders?|breasts?|navel|umbilic\w+|sternum|waist",
    "axilla": r"axilla\w*|armpits?|underarms?",
    "groin": r"groins?|inguinal|pubic|genital\w*|penis|penile|scrot\w+|vulva\w*|labia\w*|perianal|perineum|anus|anal|"
    r"buttocks?|gluteal|inner thighs?|glans|foreskin|vagina\w*|intergluteal",
    "arm": r"arms?|forearms?|elbows?|antecubital|wrists?",
    "hand": r"hands?|fingers?|knuckles?|thumbs?|fingertips?|metacarpal\w*|interdigital",
    "palm": r"palms?|palmar",
    "leg": r"legs?|thighs?|calf|calves|shins?|knees?|popliteal|pretibial|ankles?",
    "foot": r"foot|feet|toes?|heels?|instep|toe ?webs?",
    "sole": r"soles?|plantar",
    "nail": r"nails?|fingernails?|toenails?|cuticles?|periungual|subungual|nail (?:plates?|beds?|folds?)|lunula",
}
_NAMED = "|".join(f"(?P<{region}>{names})" for region, names in REGIONS.items())
_WORDS = re.compile(rf"\b(?:{_NAMED})\b", re.IGNORECASE)
#: Words for parts that mean something else.
_NOT_A_SITE = re.compile(
    r"\b(?:on the (?:one|other) hand|hand, foot|back (?:to|and forth|of)|at hand|second[- ]hand|(?:at the |"
    r"comes? )back|nail down|face of|in the face|faces?\s+(?:a|the)\b|chest of|go(?:es)? back|dates? back|"
    r"head to toe|peau|"
    r"hands? (?:gently |of |holding|touching|pulling|stretching|pressing|gloved)|gloved (?:hands?|fingers?)|"
    r"examiner\S*\s+(?:hands?|fingers?)|(?:held|stretched|pulled|spread) (?:by|with|open by) (?:\w+ )*(?:hands?|"
    r"fingers?)|finger-?like|oral (?:antibiotics?|medic\w*|therapy|steroids?|\w+ine)|jock)\b",
    re.IGNORECASE,
)
_NOWHERE = re.compile(r"\b(?:no|not|without|absence|absent|lack\w*|rather than|unlike|other than|sparing|spared?|"
    r"spares|unaffected|rul(?:es?|ed|ing)\s+out|predilection|conditions?\s+(?:primarily|commonly|typically|like|in)|"
    r"or other|else(?:where)?)\b", re.IGNORECASE)  # fmt: skip
#: What may be seen in one picture with a region, or be how a writer calls it.
_ALONGSIDE: Mapping[str, frozenset[str]] = {
    "scalp": frozenset({"upper_face", "face", "ear", "neck"}),
    "face": frozenset({"upper_face", "eye", "mid_face", "mouth", "chin", "ear", "face", "neck", "scalp"}),
    "eye": frozenset({"face", "upper_face", "mid_face"}),
    "mouth": frozenset({"face", "chin", "mid_face"}),
    "mid_face": frozenset({"face", "mouth", "eye"}),
    "chin": frozenset({"face", "mouth", "neck", "mid_face"}),
    "upper_face": frozenset({"face", "scalp", "eye"}),
    "ear": frozenset({"face", "neck", "scalp"}),
    "neck": frozenset({"face", "chin", "trunk", "ear", "scalp"}),
    "trunk": frozenset({"neck", "axilla", "groin", "arm"}),
    "axilla": frozenset({"trunk", "arm"}),
    "groin": frozenset({"leg", "trunk"}),
    "arm": frozenset({"hand", "trunk", "axilla"}),
    "hand": frozenset({"palm", "nail", "arm"}),
    "palm": frozenset({"hand"}),
    "leg": frozenset({"foot", "groin"}),
    "foot": frozenset({"sole", "nail", "leg"}),
    "sole": frozenset({"foot"}),
    "nail": frozenset({"hand", "foot"}),
}
_OF_FACE = frozenset({"upper_face", "eye", "mid_face", "mouth", "chin", "face"})
_HAIR = frozenset({"scalp", "upper_face", "chin", "face"})
_FOLDS = frozenset({"groin", "axilla", "trunk", "neck"})
#: node -> regions where it sits by its very name; what lies below a node inherits them.
OF_NODES: Mapping[str, frozenset[str]] = {
    "tinea_capitis": frozenset({"scalp"}),
    "tinea_barbae": frozenset({"chin", "neck"}),
    "tinea_faciei": frozenset({"face"}),
    "tinea_cruris": frozenset({"groin"}),
    "tinea_manuum": frozenset({"hand", "palm"}),
    "tinea_pedis": frozenset({"foot"}),
    "onychomycosis": frozenset({"nail"}),
    "nail_disorder": frozenset({"nail"}),
    "nail_psoriasis": frozenset({"nail"}),
    "paronychia": frozenset({"nail"}),
    "subungual_hemorrhage": frozenset({"nail"}),
    "periungual_angiofibroma": frozenset({"nail"}),
    "perioral_dermatitis": frozenset({"mouth"}),
    "cheilitis": frozenset({"mouth"}),
    "herpes_labialis": frozenset({"mouth"}),
    "angular_cheilitis": frozenset({"mouth"}),
    "actinic_cheilitis": frozenset({"mouth"}),
    "oral_lichen_planus": frozenset({"mouth"}),
    "oral_mucocele": frozenset({"mouth"}),
    "fordyce_spots": frozenset({"mouth", "groin"}),
    "eyelid_dermatitis": frozenset({"eye"}),
    "rosacea": frozenset({"face"}),
    "rhinophyma": frozenset({"mid_face"}),
    "melasma": frozenset({"face", "arm"}),
    "pseudofolliculitis_barbae": frozenset({"chin", "neck", "groin"}),
    "chondrodermatitis_nodularis": frozenset({"ear"}),
    "plantar_wart": frozenset({"sole"}),
    "hand_eczema": frozenset({"hand", "palm"}),
    "foot_eczema": frozenset({"foot"}),
    "dyshidrotic_eczema": frozenset({"hand", "palm", "foot"}),
    "palmoplantar_keratoderma": frozenset({"palm", "sole", "hand", "foot"}),
    "genital_wart": frozenset({"groin", "mouth"}),
    "genital_herpes": frozenset({"groin"}),
    "pearly_penile_papules": frozenset({"groin"}),
    "diaper_dermatitis": frozenset({"groin"}),
    "pediculosis_pubis": frozenset({"groin"}),
    "pediculosis_capitis": frozenset({"scalp"}),
    "androgenetic_alopecia": frozenset({"scalp"}),
    "telogen_effluvium": frozenset({"scalp"}),
    "alopecia_areata": _HAIR,
    "traction_alopecia": frozenset({"scalp"}),
    "dissecting_cellulitis": frozenset({"scalp"}),
    "pityriasis_amiantacea": frozenset({"scalp"}),
    "central_centrifugal_cicatricial_alopecia": frozenset({"scalp"}),
    "frontal_fibrosing_alopecia": _HAIR,
    "pseudopelade": frozenset({"scalp"}),
    "acne_keloidalis": frozenset({"scalp", "neck"}),
    "pitted_keratolysis": frozenset({"sole"}),
    "poikiloderma_of_civatte": frozenset({"neck"}),
    "hidradenitis_suppurativa": _FOLDS,
    "inverse_psoriasis": _FOLDS,
    "pretibial_myxedema": frozenset({"leg"}),
    "stasis_dermatitis": frozenset({"leg"}),
    "venous_ulcer": frozenset({"leg"}),
    "lipodermatosclerosis": frozenset({"leg"}),
    "digital_mucous_cyst": frozenset({"hand", "nail", "foot"}),
    "herpes_simplex_type_2": frozenset({"groin"}),
}
#: A part named once in passing is no picture of it.
_LEAST_MENTIONS = 2


def regions_of_label(text: NarrativeText, taxonomy: Taxonomy) -> frozenset[str]:
    """The regions that the label allows, by its own words of site, else by its node; none where it says nothing."""
    named = {region for region, _ in _named(" ".join(text.label_words))}
    if named:
        return frozenset(named)
    if text.label_node is None:
        return frozenset()
    for node in reversed(taxonomy.path(text.label_node)):
        if node in OF_NODES:
            return OF_NODES[node]
    return frozenset()


def site_findings(text: NarrativeText, taxonomy: Taxonomy) -> Iterator[Finding]:
    """A picture of another part of the body than the label allows, told by the sentences that describe it."""
    allowed = regions_of_label(text, taxonomy)
    if not allowed:
        return
    within = allowed | {near for region in allowed for near in _ALONGSIDE[region]}
    if allowed & {"eye", "mouth", "chin", "upper_face", "mid_face", "ear"} and "face" not in allowed:
        within -= {"upper_face", "eye"} - allowed
    seen: Counter[str] = Counter()
    where: dict[str, tuple[Sentence, str]] = {}
    for sentence, told in text.of_this_case():
        if told and any(statement.status != "asserted" for statement in told):
            continue
        if _NOWHERE.search(sentence.text):
            continue
        named_by_disease = [(s.mention.start, s.mention.end) for s in told]
        for region, match in _named(sentence.text):
            if not any(start <= match.start() < end for start, end in named_by_disease):
                seen[region] += 1
                where.setdefault(region, (sentence, match.group()))
    if len(seen.keys() & _OF_FACE) > 1:
        seen.pop("face", None)  # the finer word says where on it
    if not seen or seen.keys() & within:
        return
    region, count = min(seen.items(), key=lambda item: (-item[1], item[0]))
    if count >= _LEAST_MENTIONS or len(seen) >= _LEAST_MENTIONS:
        sentence, words = where[region]
        expected = ", ".join(sorted(allowed)).replace("_", " ")
        yield finding("site_mismatch", sentence, f"{words!r} is described; the label sits on: {expected}")


def _named(text: str) -> Iterator[tuple[str, re.Match[str]]]:
    innocent = [match.span() for match in _NOT_A_SITE.finditer(text)]
    for match in _WORDS.finditer(text):
        if not any(start <= match.start() < end for start, end in innocent) and match.lastgroup is not None:
            yield match.lastgroup, match
