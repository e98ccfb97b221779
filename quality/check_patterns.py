"""The words that the checks on a narrative look for.

English stems, kept apart from the rules because they are what a reader would correct first. What a claim needs in the
context to be allowed stands beside the words that make it.
"""

from __future__ import annotations

import re


def words(pattern: str) -> re.Pattern[str]:
    """A pattern over whole words, whatever their case."""
    return re.compile(rf"\b(?:{pattern})\b", re.IGNORECASE)


#: What is claimed -> (words that claim it, words of a line of ``context_used`` that allow it).
BEYOND_A_PHOTOGRAPH = {
    "palpation": (
        words(
            r"palpa\w*|indurat\w*|infiltrated|firm(?:ness|er)?|rubbery|gritty|(?:to|on|"
            r"under) (?:the )?(?:touch|pressure)|"
            r"feels?|felt|dimpl\w*|elicited|stroked|fluctua\w*|freely movable|freely mobile|fixed to|"
            r"blanch\w*|diascopy|lymph nodes?|"
            r"(?:nikolsky|darier|auspitz) sign|consistency"
        ),
        words(r"palpa\w*|indurat\w*|firm\w*|consistency|sign|nodes?"),
    ),
    "temperature": (
        words(r"warm\w*|hot|heat|cool|fever\w*|febrile|temperature|chills|hyperthermi\w*|degrees"),
        words(r"warm\w*|fever\w*|temperature|heat"),
    ),
    "pain": (
        words(
            r"pain\w*|(?:non-?)?tender\w*|burning|sore(?:ness)?|stinging|hurts?|aches?|aching|sensitive|asymptomatic"
        ),
        words(r"pain\w*|tender\w*|burn\w*|hurt\w*|sore\w*|sympto\w*"),
    ),
    "itch": (words(r"itch\w*|prurit\w*|asymptomatic"), words(r"itch\w*|prurit\w*|sympto\w*")),
    "bleeding": (words(r"bleed\w*|bled"), words(r"bleed\w*|bled")),
    "growth or change": (
        words(
            r"growth|growing|grew|grown|enlarg\w*|doubled|(?:has|have|had) (?:\w+ )?(?:changed|spread)|evolv\w*|"
            r"rapidly progressive"
        ),
        words(r"growth|grew|grow\w*|change\w*|evol\w*|enlarg\w*"),
    ),
    "duration or onset": (
        words(
            r"(?:for|over|during) (?:the (?:past|last) )?(?:an? |\w+ )?(?:days?|weeks?|months?|years?)|"
            r"\w+ (?:days?|weeks?|"
            r"months?|years?) ago|onset|recent(?:ly)?|since|long-standing|(?:appeared|started|began|"
            r"arose|noticed) \w+|"
            r"(?:has|have|had) (?:not |recently |slowly |rapidly )?(?:appeared|been (?:present|stable|there))"
        ),
        words(r"duration|onset|since|history"),
    ),
    "family or past illness": (
        words(
            r"history of|family|mother|father|brother|sister|siblings?|known to have|"
            r"known \w+ allerg\w*|allerg\w* to|"
            r"diabet\w*|immunosuppress\w*|transplant\w*|HIV|smoker|smok(?:es|ed)|sunburns?|"
            r"atopic background|travel\w*|"
            r"holiday|works? (?:outdoors|as)|pregnan\w*"
        ),
        words(r"history|family|known|allerg\w*|disease|smok\w*|travel\w*|occupation|pregnan\w*"),
    ),
    "treatment": (
        words(
            r"(?:was|been|were) treated|previous(?:ly)? (?:\w+ )?(?:treat\w*|excis\w*|remov\w*|"
            r"diagnos\w*|cryotherapy|"
            r"surgery)|(?:cryotherapy|steroids?|antibiotics?|treatment) (?:failed|without|had no|did not)|"
            r"after (?:a )?(?:new )?(?:antibiotic|medicine|drug|starting)|took|taking"
        ),
        words(r"treat\w*|medic\w*|drug\w*|therapy"),
    ),
    "what a patient said": (
        words(
            r"(?:patient|he|she|they) (?:also )?(?:reports?|states?|notice[ds]?|denie[ds]|den(?:y|ies)|recalls?|"
            r"describes?|says|complains?)|complain\w*"
        ),
        words(r"reported by|patient|history"),
    ),
    "laboratory or histology": (
        words(
            r"histolog\w*|histopatholog\w*|patholog(?:y|ist)|microscop(?:y|ic|ically)|biops(?:y|ies) (?:of \w+ \w+ )?"
            r"(?:\w+ )?(?:show\w*|confirm\w*|reveal\w*|support\w*|proved|was|is)|(?:the|a|punch|"
            r"shave) biopsy|specimen|"
            r"mitos[ei]s|mitotic|atypical (?:cells|melanocytes|keratinocytes)|nests of|(?:dermal|"
            r"lymphocytic) infiltrate|"
            r"spongiosis|acantholysis|acanthosis|parakeratosis|immuno(?:histochem|fluoresc)\w*|stain(?:s|ed|ing)|"
            r"S-?100|melan-a|Breslow|Clark level|clear margins|KOH|cultures?|swab|PCR|serolog\w*|blood tests?|"
            r"eosinophilia|wood(?:'s)? lamp"
        ),
        words(r"histolog\w*|biops\w*|patholog\w*|laborator\w*|culture|serolog\w*|blood|test\w*|lamp"),
    ),
}
#: Words that make a statement one about this person or finding, whatever else it says.
PERSON = words(
    r"(?:the|this) patient(?:'s)?|he|she|his|her|this (?:lesion|case|person|individual|eruption|rash|plaque|nodule)"
)
#: In evidence and plans, which mostly speak of diseases, only these speak of the case.
OF_THE_CASE = re.compile(
    r"\b(?:(?:this|the) (?:present )?(?:patient|lesion|case|individual|eruption|rash|plaque|"
    r"nodule|papule|macule|patch|ulcer|"
    r"biopsy|histology|specimen|pathologist)|(?:this|the affected|the surrounding) (?:person|area|skin|site))"
    r"(?: of (?:this|the) \w+)? (?:already )?(?:is|was|are|were|has|have|had|feels?|felt|"
    r"reports?|shows?|showed|supports?|"
    r"confirms?|confirmed|proved)\b|"
    r"^(?:it|histology|biopsy|fever\b.*) (?:is|was|feels?|has|had|hurts?|started|support\w*|confirm\w*)\b|"
    r"\b(?:the|this) person (?:has|had|reports?|feels?)\b|^the (?:mother|father|brother|sister|family)\b|"
    r"\bpatient's history\b|^the response to treatment\b|^on (?:palpation|examination|touch)\b|"
    r"\b(?:he|she|his|her)\b|\bin this (?:patient|case)\b",
    re.IGNORECASE,
)
IN_GENERAL = words(
    r"typical(?:ly)?|usual(?:ly)?|in general|generally|often|commonly|classic(?:ally)?|"
    r"characteristically|may|can|could|"
    r"would|cannot|should|whether|if|when|unless"
)
#: In a finding of what is typical, only these make a statement general.
TYPICAL = words(
    r"typical(?:ly)?|usual(?:ly)?|in general|generally|often|commonly|classic(?:ally)?|characteristically|may|can"
)
#: What is said not to be known, or not to have been done, claims nothing.
UNKNOWN = words(
    r"(?:is|was|were|are) not (?:\w+ )?(?:available|known|possible|given|reported|stated|done|"
    r"performed|assessed|tested)|"
    r"unknown|not (?:available|known|possible|reported|stated)|no (?:histology|biopsy|"
    r"history) (?:is|was|exists)|whether|"
    r"without histology|no histology|leaves open|does not tell|nor does a photograph"
)
DENIED = words(r"no|not|never|absent|without|denie[ds]|den(?:y|ies)|negative")
CONFIRMED = words(
    r"confirm(?:ed|s)|proven|proves|definit(?:e|ely|ive|ively)|certainly|undoubtedly|(?:without|"
    r"beyond|no) (?:any )?doubt|"
    r"diagnostic of|pathognomonic|unequivocal(?:ly)?|conclusive(?:ly)?|indisputabl[ey]"
)
NOT_CONFIRMED = words(
    r"not (?:yet )?(?:been )?(?:confirmed|proven|definite|certain)|unconfirmed|(?:needs? )?to be confirmed|unproven"
)
# From here to the names of records patterns are in lower case and search lower-cased sentences, which takes a third of
# the time of ignoring case.
SECOND_PERSON = re.compile(r"\b(?:you|your|yours|yourself|you're|you've)\b")
DOSE = re.compile(
    r"\b\d+(?:[.,]\d+)?\s?(?:mg|mcg|µg|μg|ml|iu|units?|grams?)\b"
    r"|\b\d+(?:[.,]\d+)?\s?%\s\w*\s?(?:cream|ointment|gel|lotion|solution|shampoo|foam)\b"
    r"|\b(?:once|twice|thrice|three times|four times) (?:daily|a day|weekly|a week)\b"
    r"|\bprescri(?:be|bed|bes|bing|ption)\b|\b(?:bid|tid|qid)\b",
)
LABEL_SOURCE = re.compile(
    r"\b(?:ground[- ]truth|gold[- ]standard|data ?set|meta ?data|file ?name|labell?ed as|"
    r"(?:given|provided|known|reference|true) (?:label|diagnosis)|the label|"
    r"annotat(?:ed as|or label)|ham ?10000|pad-ufes(?:-20)?|fitzpatrick ?17k|isic)\b"
)
#: Names of files and records, which no reader of an image can know.
IDENTIFIER = re.compile(
    r"\b(?:isic|pat|ham|mel|lesion|img)_\d+\w*|\b[\w-]+\.(?:jpe?g|png|tiff?|bmp|webp)\b|\b[0-9a-f]{16,}\b",
)
BOILERPLATE = re.compile(
    r"as an? (?:ai|artificial|language model)|\bi (?:am|cannot|can't|do not|don't)\b|"
    r"it is (?:important|worth|crucial) to note|"
    r"(?:not|no substitute for|does not constitute) (?:professional )?medical advice|"
    r"for (?:educational|informational) purposes|"
    r"(?:consult|seek advice from) (?:a |your )?(?:qualified |healthcare |medical )?(?:professional|provider)|"
    r"clinical correlation is (?:recommended|advised|required)|"
    r"further (?:evaluation|testing) (?:is|may be) (?:needed|warranted)|"
    r"various (?:factors|conditions|causes)|cannot be determined from (?:the|this) image alone",
)
#: Words of a reported finding that say that it is one, and so need no fact behind them.
REPORTING = frozenset(
    re.findall(
        r"\w+",
        "a an and as at be by case for has have image in is it lesion morphology of on or patient present absent "
        "reported reports site skin that the there this to type was were with years year old mm cm",
    )
)
#: Two words with this many first letters in common tell the same fact: itchy and itching, warm and warmth.
STEM = 4
TOKEN = re.compile(r"[a-z]+|\d+(?:\.\d+)?")
