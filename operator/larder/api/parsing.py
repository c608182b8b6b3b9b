"""The API server's objects as `Model` and `ModelPool`: the one place where their JSON is read.

Total on whatever the API server lets in, and the same defaults as the CRDs' schemas where a field is absent.
What is wrong raises InvalidInputError with the field's path, its value and what is allowed; never anything else.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from larder.api.quantities import parse_bytes, parse_seconds, parse_time
from larder.api.resources import (
    SLO,
    Gateway,
    Loading,
    Manifest,
    Memory,
    Model,
    ModelPool,
    ObjectMeta,
    Pods,
    Repository,
    Template,
)
from larder.errors import InvalidInputError


def parse_model(manifest: Manifest) -> Model:
    """Return a Model. Raises InvalidInputError; a stateful model without a maximum has one copy at most."""
    top = _Section("", _mapping("object", manifest))
    meta, spec = _meta(top), top.required_section("spec")
    stateful = spec.flag("stateful", False)
    least, most = _copies(spec.section("copies"), stateful)
    return Model(
        meta=meta,
        pool=spec.required_text("pool"),
        served_name=spec.text("repositoryName") or meta.name,
        memory_bytes=spec.optional_bytes("memory"),
        slo=_slo(spec.section("slo")),
        priority=spec.integer("priority", 0, -1000),
        min_copies=least,
        max_copies=most,
        revision=spec.text("revision") or "",
        stateful=stateful,
        sequence_idle_seconds=float(spec.integer("sequenceIdleSeconds", 60, 0)),
        status=top.section("status").values,
    )


def parse_model_pool(manifest: Manifest) -> ModelPool:
    """Return a ModelPool. Raises InvalidInputError."""
    top = _Section("", _mapping("object", manifest))
    meta, spec = _meta(top), top.required_section("spec")
    return ModelPool(
        meta=meta,
        repository=_repository(spec.required_section("repository")),
        memory=_memory(spec.required_section("memory")),
        pods=_pods(spec.section("pods")),
        loading=_loading(spec.section("loading")),
        auto_complete=spec.flag("autoComplete", True),
        drain_seconds=float(spec.integer("drainSeconds", 60, 0)),
        protection_seconds=float(spec.integer("protectionSeconds", 30, 0)),
        gateway=_gateway(spec.section("gateway")),
        mode=_mode(spec),
        template=_template(spec.section("template")),
        status=top.section("status").values,
    )


@dataclass(frozen=True, slots=True)
class _Section:
    """A JSON object and its path in the manifest. null is read as absent, as the API server does."""

    path: str
    values: Mapping[str, Any]

    def at(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

    def section(self, name: str) -> "_Section":
        value = self.values.get(name)
        return _Section(self.at(name), {} if value is None else _mapping(self.at(name), value))

    def required_section(self, name: str) -> "_Section":
        self._require(name)
        return self.section(name)

    def mapping(self, name: str) -> Manifest | None:
        return None if self.values.get(name) is None else self.section(name).values

    def items(self, name: str) -> tuple["_Section", ...]:
        listed = self._list(name)
        paths = [f"{self.at(name)}[{index}]" for index in range(len(listed))]
        return tuple(_Section(path, _mapping(path, item)) for path, item in zip(paths, listed, strict=True))

    def texts(self, name: str) -> tuple[str, ...]:
        listed = self._list(name)
        return tuple(_text(f"{self.at(name)}[{index}]", item) for index, item in enumerate(listed))

    def text_map(self, name: str) -> dict[str, str]:
        section = self.section(name)
        return {key: _text(section.at(key), value) for key, value in section.values.items()}

    def text(self, name: str) -> str | None:
        value = self.values.get(name)
        return None if value is None else _text(self.at(name), value)

    def required_text(self, name: str) -> str:
        self._require(name)
        text = self.text(name)
        if not text:
            raise InvalidInputError(self.at(name), text, "it must not be empty")
        return text

    def flag(self, name: str, default: bool) -> bool:
        value = self.values.get(name)
        if value is not None and not isinstance(value, bool):
            raise InvalidInputError(self.at(name), value, "it must be true or false")
        return default if value is None else value

    def optional_integer(self, name: str, at_least: int) -> int | None:
        value = self.values.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
            raise InvalidInputError(self.at(name), value, f"it must be a whole number of at least {at_least}")
        return value

    def integer(self, name: str, default: int, at_least: int) -> int:
        value = self.optional_integer(name, at_least)
        return default if value is None else value

    def optional_bytes(self, name: str) -> int | None:
        value = self.values.get(name)
        return None if value is None else parse_bytes(self.at(name), value)

    def bytes(self, name: str, default: str, *, allow_zero: bool = False) -> int:
        value = self.values.get(name)
        return parse_bytes(self.at(name), default if value is None else value, allow_zero=allow_zero)

    def optional_seconds(self, name: str) -> float | None:
        value = self.values.get(name)
        return None if value is None else parse_seconds(self.at(name), value)

    def seconds(self, name: str, default: str) -> float:
        value = self.values.get(name)
        return parse_seconds(self.at(name), default if value is None else value)

    def _list(self, name: str) -> list[Any]:
        value = self.values.get(name)
        if value is not None and not isinstance(value, list | tuple):
            raise InvalidInputError(self.at(name), value, "it must be a list")
        return list(value or ())

    def _require(self, name: str) -> None:
        if self.values.get(name) is None:
            raise InvalidInputError(self.at(name), None, "it is required")


def _mapping(path: str, value: object) -> Manifest:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise InvalidInputError(path, value, "it must be an object")
    return value


def _text(path: str, value: object) -> str:
    if not isinstance(value, str):
        raise InvalidInputError(path, value, "it must be a string")
    return value


def _meta(top: _Section) -> ObjectMeta:
    meta = top.required_section("metadata")
    created = meta.text("creationTimestamp")
    return ObjectMeta(
        namespace=meta.text("namespace") or "",
        name=meta.required_text("name"),
        uid=meta.text("uid") or "",
        generation=meta.integer("generation", 0, 0),
        created_seconds=0.0 if created is None else parse_time(meta.at("creationTimestamp"), created),
        resource_version=meta.text("resourceVersion") or "",
        deleting=meta.text("deletionTimestamp") is not None,
    )


def _slo(slo: _Section) -> SLO:
    percentile = slo.values.get("percentile")
    if percentile is None:
        percentile = 99
    if isinstance(percentile, bool) or not isinstance(percentile, int | float) or not 0 < percentile < 100:
        raise InvalidInputError(slo.at("percentile"), percentile, "it must be a number above 0 and below 100")
    return SLO(slo.optional_seconds("latency"), float(percentile), slo.optional_seconds("coldStart"))


def _copies(copies: _Section, stateful: bool) -> tuple[int, int | None]:
    least, most = copies.integer("min", 0, 0), copies.optional_integer("max", 1)
    if stateful and most not in (None, 1):
        raise InvalidInputError(copies.at("max"), most, "it must be 1, because spec.stateful is true")
    most = 1 if stateful else most
    if most is not None and least > most:
        raise InvalidInputError(copies.at("min"), least, f"it must be at most {most}")
    return least, most


def _repository(repository: _Section) -> Repository:
    uri, volume = repository.text("uri"), repository.mapping("volume")
    if (uri is None) == (volume is None):
        raise InvalidInputError(repository.path, dict(repository.values), "give exactly one of uri and volume")
    secret = repository.section("credentialsSecret")
    name = secret.required_text("name") if secret.values else None
    return Repository(uri=uri, volume=volume, sub_path=repository.text("subPath"), credentials_secret=name)


def _memory(memory: _Section) -> Memory:
    for name in ("budget", "defaultModelMemory"):
        if memory.values.get(name) is None:
            raise InvalidInputError(memory.at(name), None, "it is required")
    budget, base = memory.bytes("budget", ""), memory.bytes("base", "0", allow_zero=True)
    if base >= budget:
        raise InvalidInputError(memory.at("base"), memory.values.get("base"), f"it must be below {memory.at('budget')}")
    high, low = memory.integer("highWatermark", 95, 1), memory.integer("lowWatermark", 85, 1)
    if not low < high <= 100:
        raise InvalidInputError(memory.at("lowWatermark"), low, f"it must be below highWatermark ({high}), at most 100")
    return Memory(budget, memory.bytes("defaultModelMemory", ""), base, high / 100, low / 100)


def _pods(pods: _Section) -> Pods:
    least, most = pods.integer("min", 1, 0), pods.integer("max", 1, 1)
    if least > most:
        raise InvalidInputError(pods.at("min"), least, f"it must be at most {pods.at('max')} ({most})")
    fixed, surge = pods.optional_integer("fixed", 0), pods.integer("surge", 1, 0)
    return Pods(least, most, fixed, surge, pods.seconds("scaleDownAfter", "10m"))


def _loading(loading: _Section) -> Loading:
    return Loading(
        concurrency=loading.integer("concurrency", 2, 1),
        load_timeout_seconds=loading.seconds("loadTimeout", "10m"),
        unload_timeout_seconds=loading.seconds("unloadTimeout", "1m"),
    )


def _gateway(gateway: _Section) -> Gateway:
    secret = gateway.section("tlsSecret")
    return Gateway(
        replicas=gateway.integer("replicas", 2, 1),
        resources=gateway.section("resources").values,
        longest_hold_seconds=gateway.seconds("longestHold", "1m"),
        held_bytes=gateway.bytes("heldBytes", "256Mi"),
        held_requests=gateway.integer("heldRequests", 10_000, 1),
        body_limit_bytes=gateway.bytes("bodyLimit", "64Mi"),
        tls_secret=secret.required_text("name") if secret.values else None,
    )


def _mode(spec: _Section) -> Literal["Active", "Advise"]:
    match spec.text("mode"):
        case None | "Active":
            return "Active"
        case "Advise":
            return "Advise"
        case other:
            raise InvalidInputError(spec.at("mode"), other, "it must be Active or Advise")


def _template(template: _Section) -> Template:
    return Template(
        image=template.text("image"),
        image_pull_policy=template.text("imagePullPolicy"),
        image_pull_secrets=tuple(item.required_text("name") for item in template.items("imagePullSecrets")),
        resources=template.section("resources").values,
        shared_memory_bytes=template.optional_bytes("sharedMemory"),
        node_selector=template.text_map("nodeSelector"),
        tolerations=tuple(item.values for item in template.items("tolerations")),
        affinity=template.mapping("affinity"),
        labels=template.text_map("labels"),
        annotations=template.text_map("annotations"),
        extra_args=template.texts("extraArgs"),
        env=tuple(item.values for item in template.items("env")),
    )
