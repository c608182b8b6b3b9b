"""Envoy's static configuration: a pure function from settings to the bootstrap, as plain data.

A Lua filter finds a request's model, and on the routing board (larder.gateway.board) the pods that serve it; the one
of them with the fewest unanswered requests is put into the dynamic metadata `larder.host`. A composite cluster sends
the first attempt there, or, when there is none, to the activator; the one retry always goes to the activator, so that
a stale route or a dead pod ends there and not at the client. The activator marks its own answers with
`x-envoy-ratelimited`, which Envoy never retries. When it is gone Envoy routes by the board that it left.

Time limits: no limit on a whole request; a stream on which nothing moves for `STREAM_IDLE` ends, which bounds the
longest inference; a body must arrive within `REQUEST_TIMEOUT`; an idle connection ends after `CONNECTION_IDLE`.
"""

from importlib import resources
from typing import Any, Final

from larder.api import names
from larder.gateway.board import PODS, SLOTS
from larder.gateway.dispatch import DEAD_STUB
from larder.gateway.settings import POD_IDLE_SECONDS, Settings
from larder.gateway.tallies import BOUNDS_SECONDS

Config = dict[str, Any]

RETRY_HEADER: Final = "x-larder-retry"
"""On a pod's answer: send the request again."""
STREAM_IDLE: Final = "3600s"
REQUEST_TIMEOUT: Final = "300s"
CONNECTION_IDLE: Final = "3600s"
CONNECTION_AGE: Final = "540s"
CONNECTION_AGE_JITTER_PERCENT: Final = 22
"""A client's connection ends after 9 to 11 minutes, between two answers, so that new gateway pods get their share."""
CONNECT_TIMEOUT: Final = "1s"
HOST_IDLE: Final = "300s"
DEAD_STUB_LUA: Final = "Stub process .-is not healthy"
UNBOUNDED: Final = 1_000_000
"""Connections, pending requests, requests and retries at once, of every cluster. The defaults (1,024, and 3 retries)
fail most of a burst of retries. What bounds them is memory (the overload manager) and Triton's own queues."""
HEAP_PERCENT: Final = 85
"""Of the container's memory; the rest is the program, LuaJIT, and what it has mapped."""
SLACK_BYTES: Final = 64 * 1024
WINDOW_BYTES: Final = 64 * 1024 * 1024
SMALLEST_WINDOW_BYTES: Final = 65_535
LARGEST_WINDOW_BYTES: Final = 2**31 - 1

_TYPE: Final = "type.googleapis.com/"
_NO_MEMORY: Final = "this gateway is short of memory: send the request again later"
_NO_ACTIVATOR: Final = "the model is on no pod and the gateway's activator, which waits for it, is not running"


def bootstrap(settings: Settings) -> Config:
    """Return Envoy's bootstrap for one gateway pod."""
    return {
        "node": {"id": settings.node, "cluster": settings.pool},
        "overload_manager": _overload(settings),
        "admin": {"address": _pipe(settings.admin_socket)},
        "static_resources": {
            "listeners": [_listener(settings, "http"), _listener(settings, "grpc")],
            "clusters": [*_clusters(settings, "http"), *_clusters(settings, "grpc")],
        },
    }


def certificate(settings: Settings) -> Config:
    """Return the discovery response through which Envoy reads, and reads again when it changes, the certificate."""
    directory = settings.tls_dir
    return {
        "resources": [
            {
                "@type": _TYPE + "envoy.extensions.transport_sockets.tls.v3.Secret",
                "name": "server",
                "tls_certificate": {
                    "certificate_chain": {"filename": f"{directory}/tls.crt"},
                    "private_key": {"filename": f"{directory}/tls.key"},
                    "watched_directory": {"path": str(directory)},
                },
            }
        ]
    }


def _overload(settings: Settings) -> Config:
    """Give memory back, then connections, then refuse requests, before the kernel ends all of them."""
    heap_type = "envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig"
    heap_bytes = max(settings.envoy_memory_bytes * HEAP_PERCENT // 100, 1)
    monitor = {"@type": _TYPE + heap_type, "max_heap_size_bytes": heap_bytes}
    return {
        "refresh_interval": "0.25s",
        "resource_monitors": [_typed("envoy.resource_monitors.fixed_heap", monitor)],
        "actions": [_at("shrink_heap", 0.8), _at("disable_http_keepalive", 0.9), _at("stop_accepting_requests", 0.95)],
    }


def _at(action: str, pressure: float) -> Config:
    trigger = {"name": "envoy.resource_monitors.fixed_heap", "threshold": {"value": pressure}}
    return {"name": f"envoy.overload_actions.{action}", "triggers": [trigger]}


def _pipe(path: object) -> Config:
    return {"pipe": {"path": str(path)}}


def _socket(address: str, port: int) -> Config:
    return {"socket_address": {"address": address, "port_value": port}}


def _listener(settings: Settings, protocol: str) -> Config:
    port = settings.ports.http if protocol == "http" else settings.ports.grpc
    chain: Config = {"filters": [_typed("envoy.filters.network.http_connection_manager", _manager(settings, protocol))]}
    if settings.tls_dir is not None:
        chain["transport_socket"] = _tls(settings, ["h2", "http/1.1"] if protocol == "http" else ["h2"])
    return {
        "name": protocol,
        "address": _socket(settings.bind_address, port),
        "per_connection_buffer_limit_bytes": settings.body_limit_bytes + SLACK_BYTES,
        "tcp_backlog_size": 4096,
        "filter_chains": [chain],
    }


def _tls(settings: Settings, protocols: list[str]) -> Config:
    source = {"path_config_source": {"path": str(settings.certificate_file)}, "resource_api_version": "V3"}
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": _TYPE + "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": {
                "alpn_protocols": protocols,
                "tls_certificate_sds_secret_configs": [{"name": "server", "sds_config": source}],
            },
        },
    }


def _manager(settings: Settings, protocol: str) -> Config:
    manager_type = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    return {
        "@type": _TYPE + manager_type,
        "stat_prefix": protocol,
        "codec_type": "AUTO",
        "generate_request_id": False,
        "server_header_transformation": "PASS_THROUGH",
        "use_remote_address": True,
        "skip_xff_append": True,
        "normalize_path": False,
        "stream_idle_timeout": STREAM_IDLE,
        "request_timeout": REQUEST_TIMEOUT,
        "request_headers_timeout": "30s",
        "common_http_protocol_options": {
            "idle_timeout": CONNECTION_IDLE,
            "max_headers_count": 200,
            "max_connection_duration": CONNECTION_AGE,
            "max_connection_duration_jitter": {"value": CONNECTION_AGE_JITTER_PERCENT},
        },
        # HTTP/1 hears `Connection: close` with the next answer, HTTP/2 GOAWAY; requests under way are answered.
        "http1_safe_max_connection_duration": True,
        "http2_protocol_options": {
            **_windows(settings.body_limit_bytes + SLACK_BYTES),
            "max_concurrent_streams": 1000,
            "connection_keepalive": {"interval": "60s", "timeout": "20s"},
        },
        "route_config": _routes(protocol),
        "http_filters": [_lua(settings, protocol), _router()],
        "local_reply_config": _local_replies(settings, protocol),
    }


def _windows(stream_bytes: int) -> Config:
    """Flow control; for a request the stream's window is also the bound on what is buffered of its body.

    No pings to Triton: gRPC servers end a connection, and what runs on it, that pings more than every 5 minutes.
    """
    stream_bytes = min(max(stream_bytes, SMALLEST_WINDOW_BYTES), LARGEST_WINDOW_BYTES)
    return {
        "initial_stream_window_size": stream_bytes,
        "initial_connection_window_size": min(4 * stream_bytes, LARGEST_WINDOW_BYTES),
    }


def _routes(protocol: str) -> Config:
    routes = _http_routes() if protocol == "http" else [_route("grpc", {"prefix": "/"}, _grpc_stale())]
    return {
        "virtual_hosts": [
            {
                "name": "pool",
                "domains": ["*"],
                "routes": routes,
                "response_headers_to_remove": ["x-envoy-ratelimited", "x-envoy-upstream-service-time", RETRY_HEADER],
            }
        ]
    }


def _http_routes() -> list[Config]:
    """Triton says that a model is not there by 404; with a version also by 503; of readiness and statistics by 400."""
    stale_statuses: tuple[tuple[Config, list[int]], ...] = (
        ({"safe_regex": {"regex": "/v2/models/.+/(ready|stats)"}}, [400, 404, 503]),
        ({"safe_regex": {"regex": "/v2/models/[^/]+/versions/.+"}}, [404, 503]),
        ({"prefix": "/"}, [404]),
    )
    return [
        _route(
            "http",
            match,
            {
                "retry_on": "retriable-status-codes,retriable-headers",
                "retriable_status_codes": codes,
                "retriable_headers": [{"name": RETRY_HEADER, "present_match": True}],
            },
        )
        for match, codes in stale_statuses
    ]


def _grpc_stale() -> Config:
    """The ways in which Triton says that a model is not there, and what a gRPC server says as it ends."""
    messages: tuple[Config, ...] = (
        {"suffix": " is not at ready state"},
        {"prefix": "requested model '"},
        {"exact": "Cancelling all calls"},
        {"safe_regex": {"regex": f".*{DEAD_STUB.pattern}.*"}},
    )
    headers = [{"name": "grpc-status", "string_match": {"exact": "5"}}]
    headers += [{"name": "grpc-message", "string_match": match} for match in messages]
    return {"retry_on": "retriable-headers", "retriable_headers": headers}


def _route(protocol: str, match: Config, stale: Config) -> Config:
    retry = {
        **stale,
        "retry_on": f"connect-failure,refused-stream,reset,{stale['retry_on']}",
        "num_retries": 1,
        "retry_back_off": {"base_interval": "0.001s", "max_interval": "0.005s"},
    }
    return {"match": match, "route": {"cluster": f"pool_{protocol}", "timeout": "0s", "retry_policy": retry}}


def _lua(settings: Settings, protocol: str) -> Config:
    ports = {"http": names.HTTP_PORT, "grpc": names.GRPC_PORT}
    bounds_us = ", ".join(f"{seconds * 1e6:.0f}" for seconds in BOUNDS_SECONDS)
    constants = (
        f"local BODY_LIMIT, FOLDER, PORT = {settings.body_limit_bytes}, [[{settings.run_dir}]], {ports[protocol]}\n"
        f"local SLOTS, PODS, BOUNDS_US = {SLOTS}, {PODS}, {{{bounds_us}}}\n"
    )
    return _script(constants, "board", protocol)


def _pod_lua() -> Config:
    return _script(f"local RETRY_HEADER, DEAD_STUB = [[{RETRY_HEADER}]], [[{DEAD_STUB_LUA}]]\n", "pod")


def _script(constants: str, *files: str) -> Config:
    folder = resources.files("larder.gateway").joinpath("lua")
    code = constants + "\n".join(folder.joinpath(f"{name}.lua").read_text() for name in files)
    lua_type = _TYPE + "envoy.extensions.filters.http.lua.v3.Lua"
    return _typed("envoy.filters.http.lua", {"@type": lua_type, "default_source_code": {"inline_string": code}})


def _router() -> Config:
    router = {
        "@type": _TYPE + "envoy.extensions.filters.http.router.v3.Router",
        "suppress_envoy_headers": True,
    }
    return _typed("envoy.filters.http.router", router)


def _local_replies(settings: Settings, protocol: str) -> Config:
    too_large = (
        f"the request body is over this pool's limit of {settings.body_limit_bytes} bytes (spec.gateway.bodyLimit)"
    )
    lost = {"response_flag_filter": {"flags": ["UH", "UF", "UC", "URX"]}}
    filters_and_sentences: list[tuple[Config, str]] = [
        (_status_is(413), too_large),
        ({"and_filter": {"filters": [_status_is(503), lost]}}, _NO_ACTIVATOR),
        (_status_is(503), _NO_MEMORY),
    ]
    mappers: list[Config] = [
        {"filter": chosen, "body_format_override": _sentence(protocol, text)} for chosen, text in filters_and_sentences
    ]
    if protocol == "grpc":
        mappers[0]["headers_to_add"] = [
            {"header": {"key": "grpc-status", "value": "8"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
        ]
    return {"mappers": mappers, "body_format": _sentence(protocol, "%LOCAL_REPLY_BODY%")}


def _status_is(code: int) -> Config:
    comparison = {"op": "EQ", "value": {"default_value": code, "runtime_key": "none"}}
    return {"status_code_filter": {"comparison": comparison}}


def _sentence(protocol: str, text: str) -> Config:
    if protocol == "http":
        return {"json_format": {"error": text}}
    return {"text_format_source": {"inline_string": text}}


def _clusters(settings: Settings, protocol: str) -> list[Config]:
    upstream = {"http": {"http_protocol_options": {}}, "grpc": {"http2_protocol_options": _windows(WINDOW_BYTES)}}[
        protocol
    ]
    options_type = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    options: Config = {
        "@type": _TYPE + options_type,
        "explicit_http_config": upstream,
        "common_http_protocol_options": {"idle_timeout": f"{POD_IDLE_SECONDS:g}s"},
    }
    # Filters on the way to a pod are those of the composite. What a gRPC pod says of itself is in its headers.
    pool_options = {**options, "http_filters": [_pod_lua(), _codec()]} if protocol == "http" else options
    shared: Config = {
        "connect_timeout": CONNECT_TIMEOUT,
        "per_connection_buffer_limit_bytes": settings.body_limit_bytes + SLACK_BYTES,
        "circuit_breakers": _breakers(),
        "typed_extension_protocol_options": {options_type: options},
    }
    activator_socket = settings.http_socket if protocol == "http" else settings.grpc_socket
    return [
        {**_pool(protocol), "typed_extension_protocol_options": {options_type: pool_options}},
        {**shared, **_triton(protocol)},
        {**shared, **_activator(protocol, activator_socket)},
    ]


def _codec() -> Config:
    codec_type = _TYPE + "envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec"
    return _typed("envoy.filters.http.upstream_codec", {"@type": codec_type})


def _pool(protocol: str) -> Config:
    members = [{"name": f"triton_{protocol}"}, {"name": f"activator_{protocol}"}]
    composite = {
        "@type": _TYPE + "envoy.extensions.clusters.composite.v3.ClusterConfig",
        "clusters": members,
    }
    return {
        "name": f"pool_{protocol}",
        "connect_timeout": CONNECT_TIMEOUT,
        "lb_policy": "CLUSTER_PROVIDED",
        "circuit_breakers": _breakers(),
        "cluster_type": _typed("envoy.clusters.composite", composite),
    }


def _triton(protocol: str) -> Config:
    """Where a request goes is in its metadata; a host exists for as long as it is asked."""
    return {
        "name": f"triton_{protocol}",
        "type": "ORIGINAL_DST",
        "lb_policy": "CLUSTER_PROVIDED",
        "original_dst_lb_config": {"metadata_key": {"key": "larder", "path": [{"key": "host"}]}},
        "cleanup_interval": HOST_IDLE,
        "upstream_connection_options": {"tcp_keepalive": {"keepalive_time": 30, "keepalive_interval": 5}},
    }


def _activator(protocol: str, path: object) -> Config:
    endpoint = {"endpoint": {"address": _pipe(path)}}
    return {
        "name": f"activator_{protocol}",
        "type": "STATIC",
        "load_assignment": {
            "cluster_name": f"activator_{protocol}",
            "endpoints": [{"lb_endpoints": [endpoint]}],
        },
    }


def _breakers() -> Config:
    threshold = {
        "max_connections": UNBOUNDED,
        "max_pending_requests": UNBOUNDED,
        "max_requests": UNBOUNDED,
        "max_retries": UNBOUNDED,
    }
    return {"thresholds": [threshold]}


def _typed(name: str, config: Config) -> Config:
    return {"name": name, "typed_config": config}
