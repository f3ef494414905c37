"""The words of the person's page, in the languages of the letters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from efface.ledger.policy import Language
from efface.ledger.states import State

MONTHS: Mapping[Language, str] = {
    "en": "January February March April May June July August September October November December",
    "de": "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
    "fr": "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
}


@dataclass(frozen=True)
class Words:
    """What the page says. states: each state in a sentence."""

    title: str
    state: str
    received: str
    due: str
    changed: str
    answered: str
    reason: str
    letter: str
    read_letter: str
    no_letter: str
    withdraw: str
    withdraw_means: str
    sure: str
    do_withdraw: str
    tick: str
    too_late: str
    withdrawn_by_person: str
    ask: str
    complain: str
    keep_link: str
    states: Mapping[State, str]


WORDS: Mapping[Language, Words] = {
    "en": Words(
        title="Your request",
        state="Where it stands",
        received="Received",
        due="Answer due by",
        changed="Since",
        answered="Answered",
        reason="Why",
        letter="Answer",
        read_letter="Read the letter",
        no_letter="No letter has been written yet. It will be found here.",
        withdraw="Withdraw the request",
        withdraw_means="If you withdraw the request, nothing is deleted because of it. You can make a new one at any time.",
        sure="Yes, I want to withdraw my request",
        do_withdraw="Withdraw",
        tick="Tick the box if you want to withdraw the request.",
        too_late="The request can no longer be withdrawn: work on it has begun, or it is finished.",
        withdrawn_by_person="withdrawn by the person, on the person's page",
        ask="Questions",
        complain="You can complain to",
        keep_link="Keep the address of this page to yourself: whoever has it can see what you see here.",
        states={
            State.received: "We have your request. Nobody has looked for your pictures yet.",
            State.needs_input: "We need something more before we can go on.",
            State.located: "We have looked for your pictures. A person is now deciding.",
            State.approved: "Your request will be carried out.",
            State.in_work: "Your request is being carried out.",
            State.done: "Your request has been carried out.",
            State.not_found: "We found none of your pictures.",
            State.refused: "Your request was refused.",
            State.withdrawn: "Your request was withdrawn.",
        },
    ),
    "de": Words(
        title="Ihr Antrag",
        state="Stand",
        received="Eingegangen",
        due="Antwort spätestens am",
        changed="Seit",
        answered="Beantwortet",
        reason="Grund",
        letter="Antwort",
        read_letter="Den Brief lesen",
        no_letter="Noch ist kein Brief geschrieben. Sie finden ihn dann hier.",
        withdraw="Den Antrag zurückziehen",
        withdraw_means="Wenn Sie den Antrag zurückziehen, wird seinetwegen nichts gelöscht. "
        "Sie können jederzeit einen neuen stellen.",
        sure="Ja, ich möchte meinen Antrag zurückziehen",
        do_withdraw="Zurückziehen",
        tick="Setzen Sie das Häkchen, wenn Sie den Antrag zurückziehen möchten.",
        too_late="Der Antrag kann nicht mehr zurückgezogen werden: Er ist in Arbeit oder abgeschlossen.",
        withdrawn_by_person="von der Person auf ihrer Seite zurückgezogen",
        ask="Fragen",
        complain="Sie können sich beschweren bei",
        keep_link="Behalten Sie die Adresse dieser Seite für sich: Wer sie hat, sieht, was Sie hier sehen.",
        states={
            State.received: "Ihr Antrag ist da. Nach Ihren Bildern hat noch niemand gesucht.",
            State.needs_input: "Wir brauchen noch etwas, bevor es weitergeht.",
            State.located: "Wir haben nach Ihren Bildern gesucht. Nun entscheidet ein Mensch.",
            State.approved: "Ihr Antrag wird ausgeführt werden.",
            State.in_work: "Ihr Antrag wird gerade ausgeführt.",
            State.done: "Ihr Antrag ist ausgeführt.",
            State.not_found: "Wir haben keines Ihrer Bilder gefunden.",
            State.refused: "Ihr Antrag wurde abgelehnt.",
            State.withdrawn: "Ihr Antrag wurde zurückgezogen.",
        },
    ),
    "fr": Words(
        title="Votre demande",
        state="État",
        received="Reçue le",
        due="Réponse au plus tard le",
        changed="Depuis le",
        answered="Réponse donnée le",
        reason="Motif",
        letter="Réponse",
        read_letter="Lire la lettre",
        no_letter="Aucune lettre n’est encore écrite. Vous la trouverez ici.",
        withdraw="Retirer la demande",
        withdraw_means="Si vous retirez la demande, rien ne sera effacé à cause d’elle. "
        "Vous pouvez en faire une nouvelle à tout moment.",
        sure="Oui, je veux retirer ma demande",
        do_withdraw="Retirer",
        tick="Cochez la case si vous voulez retirer la demande.",
        too_late="La demande ne peut plus être retirée : le travail a commencé, ou il est terminé.",
        withdrawn_by_person="retirée par la personne sur sa page",
        ask="Questions",
        complain="Vous pouvez adresser une réclamation à",
        keep_link="Gardez l’adresse de cette page pour vous : qui l’a voit ce que vous voyez ici.",
        states={
            State.received: "Nous avons votre demande. Personne n’a encore cherché vos images.",
            State.needs_input: "Il nous faut encore quelque chose avant de continuer.",
            State.located: "Nous avons cherché vos images. Une personne décide maintenant.",
            State.approved: "Votre demande va être exécutée.",
            State.in_work: "Votre demande est en cours d’exécution.",
            State.done: "Votre demande a été exécutée.",
            State.not_found: "Nous n’avons trouvé aucune de vos images.",
            State.refused: "Votre demande a été refusée.",
            State.withdrawn: "Votre demande a été retirée.",
        },
    ),
}


def day_in(time: datetime, language: Language) -> str:
    """The day of a time in words.

    >>> day_in(datetime(2026, 11, 3), "de")
    '3. November 2026'
    """
    month = MONTHS[language].split()[time.month - 1]
    first = {"en": str(time.day), "de": f"{time.day}.", "fr": "1er" if time.day == 1 else str(time.day)}[
        language
    ]
    return f"{first} {month} {time.year}"
