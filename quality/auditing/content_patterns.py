"""The words that the content rules look for in free-form text.

Free-form text speaks of diseases and of the case in one breath, and of growths that are tumours, so it needs narrower
words than :mod:`quality.check_patterns`; what is shared is taken from there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from quality.check_patterns import words

_WHOSE = r"(?:the|this|these|those|your|his|her|its|their)"
_THING = (
    r"(?:(?:affected\s+|surrounding\s+|involved\s+)?(?:skin|area|region)|lesions?|rash|case|plaques?|papules?|nodules?|"
    r"patch(?:es)?|bumps?|spots?|growths?|eruption|ulcers?|blisters?|condition|patient|individual|person|mass|swelling)"
)
_IS = r"(?:is|are|was|were|feels?|felt|seems?|appears?(?:\s+to\s+be)?|has\s+been|have\s+been)"
#: "the lesion is tender", "this firm nodule"
_OF_CASE = rf"(?:{_WHOSE}\s+)?(?:\w+\s+){{0,2}}?{_THING}\s+{_IS}\s+(?:(?!no\b|not\b|may\b)\w+[\s,]+){{0,4}}?"
#: "absence of", "there is no", and what may lie between that and what is said not to be there.
_NO = r"(?:absence\s+of|absent|lack\s+of|lacks?|lacking|without|there\s+(?:is|are|was|were)\s+no|no|nor)\s+"
_BETWEEN = (
    r"(?:(?!\b(?:which|that|is|are|was|were|but|while|because|makes?|suggest\w*|point\w*|rather|may|can|rul\w+|"
    r"mention\w*|"
    r"with|where|thus|therefore|if|specific|characteristic)\b)[^.;:]){0,70}?"
)

_NOUNS: Mapping[str, str] = {
    "palpation": r"induration|fluctuance|palpable\s+\w+|firmness|dimpl(?:e|ing)\s+sign|nikolsky\s+sign|"
    r"lymphadenopathy|enlarged\s+lymph\s+nodes|blanching",
    "temperature": r"warmth|fever|heat|chills",
    "pain": r"pain|tenderness|burning|soreness|stinging|discomfort",
    "itch": r"itch(?:ing|iness)?|pruritus",
    "growth_or_change": r"(?:rapid\s+|recent\s+|significant\s+|sudden\s+)?(?:growth|changes?(?=\s*(?:$|[.,;)]|or\b|"
    r"in\b|over\b))|progression|enlargement|evolution)",
    "family_or_past_illness": r"(?:family\s+|personal\s+|prior\s+|past\s+|known\s+)(?:medical\s+)?history|"
    r"(?:recent\s+)?(?:trauma|exposures?|travel|injury)",
    "systemic_symptoms": r"(?:systemic|constitutional)\s+(?:symptoms?|signs?|illness|involvement|features|findings|"
    r"manifestations)|malaise|fatigue|weight\s+loss|joint\s+pain|muscle\s+weakness",
    "treatment": r"(?:response\s+to\s+)?(?:previous|prior)\s+(?:treatment|therapy|medication)",
}
_ADJECTIVES: Mapping[str, str] = {
    "palpation": r"indurated|palpable|firm(?:\s+to\s+(?:the\s+)?(?:touch|palpation))?|rubbery|fluctuant|mobile|"
    r"soft\s+to\s+the\s+touch|rough\s+to\s+the\s+touch|blanchable|non-?blanching|hard",
    "temperature": r"warm(?:\s+to\s+(?:the\s+)?touch)?|hot|febrile",
    "pain": r"painful|tender|sore|asymptomatic|painless|non-?tender|burning",
    "itch": r"itchy|pruritic|itching|non-?pruritic",
    "bleeding": r"bleeding|friable",
    "growth_or_change": r"(?:rapidly\s+|slowly\s+|gradually\s+|steadily\s+)?(?:growing|enlarging|evolving|changing|"
    r"spreading|expanding|progressing)",
    "duration_or_onset": r"(?:long-?standing|of\s+(?:recent|sudden|acute|gradual)\s+onset)",
}
_OWN: Mapping[str, str] = {
    "palpation": r"on\s+palpation|(?:firm|indurated|tender|rubbery|hard)[\s,]+(?:\w+[\s,]+){0,2}?(?:nodules?|"
    r"papules?|plaques?|mass|lesions?|lumps?|bumps?)|"
    r"(?:presence|degree|suggestive|signs?)\s+of\s+induration|indurated\s+(?:plaques?|border|edges?|area)|"
    r"positive\s+\w+\s+sign",
    "temperature": r"(?:warm|hot)\s+to\s+(?:the\s+)?touch|(?:presence\s+of|with|localized|increased)\s+(?:fever|"
    r"warmth)\b",
    "pain": r"tender\s+(?:to\s+(?:the\s+)?(?:touch|palpation)|nodules?|lesions?|papules?)|painful\s+(?:nodules?|"
    r"lesions?|papules?|ulcers?|swelling)|(?:presence|reports?)\s+of\s+(?:pain|tenderness)|"
    r"implies\s+(?:tenderness|pain)",
    "itch": r"(?:intense|severe|significant|associated|persistent)\s+(?:itch(?:ing|iness)?|pruritus)|"
    r"the\s+(?:itch(?:ing|iness)?|pruritus)\s+(?:is|further|supports?|suggests?)|(?:presence|indicative|"
    r"signs?)\s+of\s+(?:itch(?:ing|iness)?|pruritus)",
    "bleeding": r"history\s+of\s+bleeding|bleeds?\s+(?:easily|readily)|bleeding\s+(?:tendency|easily)",
    "growth_or_change": r"(?:rapid|recent|sudden|progressive|gradual|slow)(?:ly)?\s+(?:and\s+\w+\s+)?(?:growth|"
    r"growing|enlarg\w+|evolution|evolving|change)\b|(?:has|have|had)\s+(?:\w+\s+)?(?:grown|enlarged|evolved|"
    r"spread|changed)\b|easy\s+(?:bruising|tearing)",
    "duration_or_onset": r"persist(?:ent|ed)\s+(?:\w+\s+)?(?:erythema|redness|lesions?|rash|for)\b|"
    r"long-?standing\s+(?:\w+\s+)?(?:lesions?|rash|plaques?|disease|inflammation|edema|condition)|(?:acute|"
    r"sudden|recent|rapid|gradual|abrupt|early)\s+(?:or\s+\w+\s+)?onset|recurr(?:ence|ent|ing)\s+(?:nature|"
    r"lesions?|episodes?|nodules?|abscess(?:es)?|outbreaks?|pattern)|"
    r"(?:for|over|during)\s+(?:the\s+(?:past|last)\s+)?(?:\d+|a\s+few|several|many|two|three|some)\s+(?:days?|weeks?|"
    r"months?|years?)|\w+\s+(?:days?|weeks?|months?|years?)\s+ago|from\s+a\s+young\s+age|since\s+(?:birth|childhood)|"
    r"present\s+(?:at|since)\s+birth",
    "family_or_past_illness": r"(?:indicat\w+|suggest\w*|impl(?:y|ies)|reveal\w*|confirm\w*)\s+(?:an?\s+|"
    r"the\s+)?(?:\w+\s+)?history\s+of|(?:patient|individual|person|he|she)\s+(?:has|had|"
    r"with)\s+(?:an?\s+)?(?:\w+\s+)?history\s+of|(?:patient|individual|person)\s+(?:has|had|"
    r"is)\s+(?:an?\s+)?(?:diabet\w+|immunosuppress\w+|immunocompromised|smoker|atopic)",
    "treatment": r"(?:has|had|have)\s+(?:been|not\s+been)\s+treated|(?:did\s+not|failed\s+to|"
    r"has\s+not)\s+respond(?:ed)?\s+to",
    "what_a_patient_said": r"(?:patient|individual|person|he|she)\s+(?:also\s+)?(?:reports?|reported|states?|stated|"
    r"notice[ds]?|denie[ds]|recalls?|describes?|says|complain\w*)",
    "laboratory_or_histology": r"(?:biops(?:y|ies)|histolog\w+|histopatholog\w+|KOH|cultures?|serolog\w*|"
    r"blood\s+tests?|microscop\w+)\s+(?:\w+\s+)?(?:show(?:s|ed)|confirm(?:s|ed)|reveal(?:s|ed)|demonstrat(?:es|"
    r"ed)|was|were|is\s+(?:positive|negative))|"
    r"(?:evidence|presence|features)\s+of\s+(?:\w+\s+)?(?:acantholysis|spongiosis|parakeratosis|acanthosis|dysplasia|"
    r"keratinocyte\s+\w+)",
    "systemic_symptoms": r"(?:presence|accompanied\s+by)\s+(?:of\s+)?(?:systemic|constitutional)\s+(?:symptoms?|signs)",
}


def _claim(claim: str) -> re.Pattern[str]:
    parts = [_OWN[claim]]
    if claim in _ADJECTIVES:
        parts.append(rf"{_OF_CASE}(?:{_ADJECTIVES[claim]})")
    return words("|".join(parts))


#: claim -> the words that make it of this case.
CLAIMS: Mapping[str, re.Pattern[str]] = {claim: _claim(claim) for claim in _OWN}
#: claim -> the words that say that there is none, which a photograph shows as little.
DENIED_CLAIMS: Mapping[str, re.Pattern[str]] = {
    claim: words(rf"{_NO}{_BETWEEN}\b(?:{nouns})") for claim, nouns in _NOUNS.items()
}
#: What takes such a denial back.
NOT_DENIED = re.compile(
    r"\b(?:mention\w*|stated|specified|reported|describe[ds]?|provided|given|noted|documented|information|details?|"
    r"if|whether|unless|would|should|could|may|might|typically|usually|often|generally|commonly|can|cannot|"
    r"recommend\w*|consult\w*)\b|\?",
    re.IGNORECASE,
)
#: Stems without which no claim is made, in lower case; most sentences end here, which makes the rest affordable.
CLAIM_STEMS = re.compile(
    r"palp|firm|indurat|rubber|fluctu|mobile|touch|blanch|dimpl|nikolsky|lymph|hard|tender|mass|warm|hot|heat|fever|"
    r"febrile|chills|pain|sore|burn|sting|discomfort|asympt|itch|prurit|bleed|friab|"
    r"grow|enlarg|evol|chang|spread|expan|progress|rapid|bruis|tear|persist|standing|onset|recur|day|week|month|year|"
    r"young age|since|birth|history|trauma|exposure|travel|injury|diabet|immuno|smok|atopic|treat|therapy|"
    r"medicat|respon|report|stat|notice|den|recall|describe|says|complain|biops|histo|koh|culture|serolog|blood|"
    r"microscop|acanthol|spongi|keratosis|dysplas|keratinocyte|systemic|constitutional|malaise|fatigue|weight|joint|"
    r"weakness|positive"
)
#: What is only missed in a description, asked for, planned or supposed claims nothing.
NOT_CLAIMED = re.compile(
    r"\b(?:mention(?:s|ed|ing)?|stated|specified|reported|describe[ds]?|provided|(?:is|are|was|were|not)\s+given|"
    r"noted|documented|information|details?|unknown|unclear|if|whether|unless|when|"
    r"should|would|could|might|may|can|cannot|will|recommend\w*|consult\w*|monitor\w*|watch|seek|confirmat\w+|"
    r"to\s+confirm|rule\s+out|further|need(?:ed|s)?\s+to|to\s+(?:assess|check|determine|evaluate|differentiate)|"
    r"typical(?:ly)?|usual(?:ly)?|generally|often|commonly|classic(?:ally)?|characteristically|frequently|sometimes|"
    r"tends?|rarely|possib\w+|potential\w*|likely\s+(?:due|caused)|such\s+as|e\.g|include[sd]?|including|"
    r"associated\s+with|known\s+for|characterized\s+by|leading\s+to|leads\s+to|causes|causing|treatments?|advice|"
    r"avoid)\b|\?",
    re.IGNORECASE,
)
CAPTION = re.compile(
    r"\b(?:image|photo\w*|picture)\s+(?:description|caption)|\bcaption(?:s|ed)?\b|\b(?:the|this|your|provided|given|"
    r"above|clinical)\s+description\b|"
    r"\b(?:as|features?|findings?|lesions?|characteristics|symptoms?|conditions?|details|"
    r"area)\s+(?:\w+\s+)?(?:described|mentioned|provided)\b|\b(?:isn't|aren't|not|no|without|wasn't|"
    r"weren't)\s+(?:\w+\s+)?(?:mention(?:ed)?|described|specified|stated|indicated|noted)\b|\bdescribed\s+(?:as|in|"
    r"here|features|lesions?|image|case|skin)\b|\bdescription\b",
    re.IGNORECASE,
)
_CANNOT = (
    r"(?:cannot|can't|can\s+not|could\s+not|couldn't|am\s+(?:unable|not\s+able)\s+to|'m\s+(?:unable|not\s+able)\s+to|"
    r"won't|will\s+not)"
)
REFUSAL = re.compile(
    rf"\bI(?:'m|\s+am)\s+(?:very\s+|so\s+)?sorry\b[^.]{{0,60}}\b(?:can't|cannot|unable|not\s+able)\b|"
    rf"\bI\s*{_CANNOT}\s+(?:\w+\s+)?(?:assist|help|diagnose|analy[sz]e|identify|comply|answer|fulfil\w*|(?:provide|"
    rf"offer|give|make)\s+(?:a|any|you|the)?\s*(?:with\s+)?(?:an?\s+)?(?:\w+\s+)?(?:diagnos\w+|analysis|assessment|"
    rf"answer|description))|"
    r"\b(?:impossible|not\s+possible)\s+(?:for\s+me\s+)?to\s+(?:diagnose|(?:provide|give|make|reach)\s+(?:a|"
    r"any)\s+(?:\w+\s+)?diagnosis)",
    re.IGNORECASE,
)
#: A refusal to be sure is none.
NOT_A_REFUSAL = re.compile(
    r"\b(?:definitive(?:ly)?|official|formal|certain(?:ty)?|conclusive(?:ly)?|professional|medical\s+advice|100|"
    r"rule\s+out|without\s+(?:a|an|further)\s+(?:biopsy|test|exam))",
    re.IGNORECASE,
)
NOT_SKIN = re.compile(
    r"\b(?:image|photo\w*|picture|description|input|file)\s+(?:\w+\s+){0,3}?(?:does\s+not|doesn't|do\s+not|"
    r"fails?\s+to)\s+(?:\w+\s+)?(?:show|depict|contain|include|display|feature|provide)\s+(?:\w+\s+){0,3}?(?:skin|"
    r"lesions?|visual|dermat\w+|image)|"
    r"\b(?:image|photo\w*|picture)\s+(?:description\s+)?(?:shows?|showing|depicts?|contains?|displays?|features?|"
    r"consists?\s+of)\s+(?:only\s+)?(?:an?\s+|the\s+)?(?:\w+\s+)?(?:text|message|chart|graph|diagram|document|"
    r"screenshot|logo|cartoon|drawing|illustration|animal|dog|cat|landscape|building|food|vehicle|x-?ray|radiograph|"
    r"table\s+of|refusal)\b|"
    r"\bno\s+(?:visual|image|visible)\s+(?:information|data|content|skin(?!\s+\w+)|description)\b|\b(?:not|"
    r"isn't)\s+(?:an?\s+)?(?:\w+\s+){0,2}?(?:image|photo\w*|picture)\s+of\s+(?:\w+\s+)?skin\b|"
    r"\bno\s+skin\s+(?:is\s+)?(?:visible|shown|present)\b(?!\s+(?:abnormal|lesion|change|disease|sign))|"
    r"\bwithout\s+(?:an?\s+)?(?:image|imagery|photograph|visual\s+information)\b|\b(?:image|photograph)\s+(?:is|"
    r"was)\s+(?:missing|blank|not\s+(?:provided|available|attached))",
    re.IGNORECASE,
)
#: Stems of what can be seen on skin.
MORPHOLOGY = re.compile(
    r"\b(?:macul\w*|papul\w*|plaque\w*|patch\w*|nodul\w*|vesic\w*|bulla\w*|blister\w*|pustul\w*|wheal\w*|ulcer\w*|"
    r"erosi\w*|crust\w*|scal(?:e|es|y|ing)|fissur\w*|lichenif\w*|excoriat\w*|atroph\w*|scar\w*|telangiect\w*|"
    r"erythem\w*|red(?:dish|ness)?|pink\w*|brown\w*|black\w*|white\w*|whitish|yellow\w*|purpl\w*|violaceous|blue|"
    r"bluish|skin-colou?red|pigment\w*|discolou?r\w*|swelling|swollen|edema\w*|thicken\w*|smooth|rough|raised|flat|"
    r"dome\w*|annular|round|oval|linear|border\w*|margin\w*|symmetr\w*|"
    r"cluster\w*|scattered|bumps?|lesions?|rash|hair\s+loss|ridg\w*|pitting|depress\w*|keratin\w*|plug\w*|comedo\w*|"
    r"cyst\w*|shiny|waxy|translucent|texture\w*|dry\w*|inflam\w*|verruc\w*|wart\w*)\b",
    re.IGNORECASE,
)
LEAK = words(
    r"(?:answer|diagnosis|conclusion)\s+as\s+(?:instructed|requested|required)|ground[- ]truth|"
    r"gold[- ]standard\s+(?:label|diagnosis)|(?:file|image)\s?name|(?:given|provided|reference|true|correct|actual|"
    r"assigned|known|target)\s+(?:final\s+)?(?:label|diagnosis|answer)|"
    r"(?:the|this|its|dataset|image)\s+label(?:s|led|ed)?\s+(?:is|as|says|states|indicates)|(?:per|following|"
    r"as\s+per)\s+(?:your|the)\s+(?:instructions?|prompt)|data\s?set|metadata|annotat(?:ed\s+as|or\s+label)|"
    r"HAM\s?10000|PAD-UFES(?:-20)?|Fitzpatrick\s?17k|ISIC|DermNet"
)
#: What looks like a leak and is none: a treatment or test of first choice, a plan, a wish.
NOT_A_LEAK = re.compile(
    r"\b(?:confirm\w*|correct\s+diagnosis\s+and\s+treatment|for\s+(?:a|an|the)\s+(?:\w+\s+)?(?:correct|actual|true)|"
    r"determine|reach|ensure|arrive)\b",
    re.IGNORECASE,
)
ADVICE = re.compile(
    r"(?:^(?:for\s+(?:\w+\s+){1,3}?(?:,\s*)?)?|[;—]\s+)(?:(?:please|instead|meanwhile|also|always|for\s+now|"
    r"in\s+the\s+meantime)[,\s]+)?(?:please\s+)?(?:consult|see|avoid|keep|apply|use|seek|do\s+not|don't|wash|"
    r"schedule|book|stop|try|protect|wear|get|visit|refrain|clean|moisturi[sz]e|contact\s+(?:an?|your|the)|"
    r"follow\s+up|watch|make\s+sure|make\s+an\s+appointment)\b(?!\s*:)",
    re.IGNORECASE,
)
QUESTION = re.compile(r"[\"“'][^\"”']{3,120}\?[\"”']|\b(?:your|the\s+user's)\s+(?:instructions?|question|prompt|"
    r"request)\b", re.IGNORECASE)  # fmt: skip
BOILERPLATE = re.compile(
    r"\bas\s+an?\s+(?:AI|artificial|language\s+model)|\bit\s+is\s+(?:important|worth|crucial|"
    r"essential)\s+to\s+(?:note|remember)\b|"
    r"\b(?:not|no\s+substitute\s+for|does\s+not\s+constitute)\s+(?:professional\s+)?medical\s+advice|"
    r"\bfor\s+(?:educational|informational)\s+purposes|\bclinical\s+correlation\s+is\s+(?:recommended|advised|"
    r"required)|"
    r"\bcannot\s+be\s+determined\s+from\s+(?:the|this)\s+image\s+alone|\b(?:will|I\s+will|let\s+me|"
    r"let's)\s+(?:follow|use|take)\s+a\s+(?:structured|systematic|step[- ]by[- ]step)\s+\w+|\b(?:consult\w*|"
    r"see(?:ing|k)?|visit\w*)\s+(?:with\s+)?(?:an?\s+|your\s+)?(?:\w+\s+)?(?:healthcare|medical)\s+(?:professional|"
    r"provider)",
    re.IGNORECASE,
)
HEDGED = re.compile(
    r"\b(?:appears?|seems?|likely|suggest\w*|consistent|compatible|most\s+\w+|may|might|could|possib\w+|probab\w+|"
    r"point\w*|indicat\w*|favou?r\w*|align\w*|lean\w*|suspect\w*|suspicio\w+|fits?|best|in\s+keeping|presum\w+|"
    r"support\w*|reminiscent|resembl\w*|concerning|looks?\s+like|reasonable|characteristic\s+of)\b",
    re.IGNORECASE,
)
UNCERTAIN = re.compile(
    r"\b(?:cannot|can't|unable\s+to|impossible\s+to|difficult\s+to|hard\s+to|"
    r"not\s+possible\s+to)\s+(?:\w+\s+)?(?:diagnose|determine|conclude|say|identify|provide\s+a)|\b(?:insufficient|"
    r"inadequate|not\s+enough)\s+(?:\w+\s+)?(?:data|information|detail)|\bno\s+(?:clear|definite|single|"
    r"specific)\s+(?:diagnosis|conclusion)|\b(?:do(?:es)?\s+not|don't)\s+align\s+with\s+the\s+(?:findings|"
    r"description)|\bper\s+your\s+instruction",
    re.IGNORECASE,
)
SURE = words(
    r"confirms?\s+(?:the\s+|a\s+|this\s+)?diagnosis|(?:is|are|has\s+been|was)\s+(?:indeed\s+)?(?:confirmed|proven)|"
    r"proves|undoubtedly|certainly|without\s+(?:any\s+)?(?:a\s+)?doubt|beyond\s+(?:any\s+)?doubt|unequivocal(?:ly)?|"
    r"conclusive(?:ly)?|indisputabl[ey]|pathognomonic|"
    r"definitive(?:ly)?\s+(?:diagnosis\s+(?:is|of)|diagnosed|identif\w+|conclud\w+|point\w*|indicat\w*)|"
    r"confirming\s+(?:the\s+)?(?:diagnosis|\w+\s+as)"
)
NOT_SURE = re.compile(
    r"\b(?:not|no|isn't|aren't|n't|to\s+be|should\s+be|would|could|may|might|can|if|unless|until|require[sd]?|"
    r"recommend\w*|consult\w*|need(?:s|ed)?|biops\w+|test\w*|virtually|almost|nearly|lack\w*|rather\s+than|"
    r"without\s+(?:biopsy|testing)|further)\b",
    re.IGNORECASE,
)
