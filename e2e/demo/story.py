"""The demo's story: a cold request, hits, a third model that pushes out the least valuable one, and its return."""

import statistics
import time
from dataclasses import dataclass, field
from typing import Final

from e2e.demo.asking import Answer, Asker
from e2e.demo.questions import FILETYPE, LANGUAGE, SENTIMENT, Question
from e2e.demo.timeline import Timeline
from e2e.demo.watching import Watching

PER_SECOND: Final = 10
"""Rate of the hits: a model's worth is by how often it is asked, so there has to be a rate to see."""
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
        self._stream(LANGUAGE, 30)

    def _second_model(self) -> None:
        self._timeline.chapter("A second model", "There is memory for two.")
        self._ask(FILETYPE[0])
        self._until_resident("filetype")
        for question in FILETYPE[1:]:
            self._ask(question)
        self._timeline.chapter("More hits", f"language is asked {PER_SECOND} times a second, filetype no more.")
        self._stream(LANGUAGE, 20)

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
        self._stream(LANGUAGE if self.record.evicted == "filetype" else FILETYPE, 20)
        return self.record.evicted

    def _return_of(self, evicted: str) -> None:
        self._timeline.chapter(f"{evicted} is asked again", "It is a miss now, and loads again in another's place.")
        questions = {"language": LANGUAGE, "filetype": FILETYPE}[evicted]
        self._ask(questions[0])
        self._until_resident(evicted)
        self.record.has_returned = True
        for question in questions[1:]:
            self._ask(question)

    def _stream(self, questions: tuple[Question, ...], count: int) -> None:
        """Ask at a steady rate; each question is shown once, the rest of them as one line."""
        latencies = []
        for number in range(count):
            began = time.monotonic()
            answer = self._ask(questions[number % len(questions)], is_shown=number < len(questions))
            latencies.append(answer.latency_seconds)
            time.sleep(max(0.0, 1 / PER_SECOND - (time.monotonic() - began)))
        median_ms = statistics.median(latencies) * 1000
        self._timeline.say(
            "hot", f"{questions[0].model:<10}{count - len(questions)} more, median {median_ms:.0f} ms", "green"
        )

    def _ask(self, question: Question, *, is_shown: bool = True) -> Answer:
        was_hot = question.model in self._watching.residents()
        if not was_hot:
            self._timeline.say("asked", f"{question.model:<10}which no pod holds", "bold blue")
        answer = self._asker.ask(question)
        (self.record.hot if was_hot else self.record.cold).append(answer)
        if is_shown or not was_hot or not answer.is_right:
            self._timeline.answered(answer, was_hot)
        return answer

    def _until_resident(self, model: str) -> None:
        self._watching.wait(lambda models: model in models, RESIDENCY_SECONDS, f"{model} is resident on a pod")
