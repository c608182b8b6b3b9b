"""The demo's story: a cold request, hits, a third model that pushes out the least valuable one, and its return."""

from dataclasses import dataclass, field
from typing import Final

from e2e.demo.asking import Answer, Asker
from e2e.demo.questions import FILETYPE, LANGUAGE, SENTIMENT, Question
from e2e.demo.timeline import Timeline
from e2e.demo.watching import Watching

RESIDENCY_SECONDS: Final = 20.0
"""How long after an answer the pods may take to say what they hold: a load's annotation, a drain, an unload."""


@dataclass(slots=True)
class Record:
    """What was asked, what came back, and whether the cache did what the story says."""

    cold: list[Answer] = field(default_factory=list)
    hot: list[Answer] = field(default_factory=list)
    evicted: str | None = None
    has_returned: bool = False

    @property
    def answers(self) -> list[Answer]:
        """Everything that was asked."""
        return self.cold + self.hot

    @property
    def failures(self) -> list[str]:
        """What was not as the story says; empty: all was."""
        wrong = [
            f"{a.question.model}: {a.question.shown}: {a.complaint or a.label}" for a in self.answers if not a.is_right
        ]
        if self.evicted is None:
            wrong.append("no model was evicted for the third one")
        elif not self.has_returned:
            wrong.append(f"{self.evicted} was evicted and did not come back")
        return wrong


class Story:
    """Tells the story once."""

    def __init__(self, asker: Asker, watching: Watching, timeline: Timeline) -> None:
        self._asker = asker
        self._watching = watching
        self._timeline = timeline
        self.record = Record()

    def tell(self) -> Record:
        """Tell it all. Raises WaitTimeoutError where the cluster did not follow."""
        self._first_model()
        self._second_model()
        evicted = self._third_model()
        self._return_of(evicted)
        return self.record

    def _first_model(self) -> None:
        self._timeline.chapter("A cold request", "No model is loaded. The gateway holds the request while one loads.")
        self._ask(LANGUAGE[0])
        self._until_resident("language")
        self._timeline.chapter("Hits", "The model is resident: Envoy sends requests straight to its pod.")
        for question in (*LANGUAGE[1:], *LANGUAGE):
            self._ask(question)

    def _second_model(self) -> None:
        self._timeline.chapter("A second model", "There is memory for two.")
        self._ask(FILETYPE[0])
        self._until_resident("filetype")
        for question in FILETYPE[1:]:
            self._ask(question)
        for question in LANGUAGE:
            self._ask(question)

    def _third_model(self) -> str:
        self._timeline.chapter("A third model", "Memory is full: the model that is worth least has to go.")
        before = self._watching.residents()
        self._ask(SENTIMENT[0])
        self._until_resident("sentiment")
        self._watching.wait(
            lambda models: bool(before - models), RESIDENCY_SECONDS, f"one of {', '.join(sorted(before))} was evicted"
        )
        self.record.evicted = min(before - self._watching.residents())
        for question in SENTIMENT[1:]:
            self._ask(question)
        return self.record.evicted

    def _return_of(self, evicted: str) -> None:
        self._timeline.chapter(f"{evicted} is asked again", "It is a miss now, and loads again in another's place.")
        questions = {"language": LANGUAGE, "filetype": FILETYPE}[evicted]
        self._ask(questions[0])
        self._until_resident(evicted)
        self.record.has_returned = True
        for question in questions[1:]:
            self._ask(question)

    def _ask(self, question: Question) -> None:
        was_hot = question.model in self._watching.residents()
        if not was_hot:
            self._timeline.say("asked", f"{question.model:<10}which no pod holds", "bold blue")
        answer = self._asker.ask(question)
        (self.record.hot if was_hot else self.record.cold).append(answer)
        self._timeline.answered(answer, was_hot)

    def _until_resident(self, model: str) -> None:
        self._watching.wait(lambda models: model in models, RESIDENCY_SECONDS, f"{model} is resident on a pod")
