from e2e import models
from e2e.models.repository import SUB_PATH


def test_every_file_has_an_entry_of_the_config_map_and_a_path_below_the_sub_path() -> None:
    files = models.demo() | models.ensemble("pair", "first", "second")
    volume = models.volume("models", files)
    mounted = {item["path"]: volume.config_map["data"][item["key"]] for item in volume.source["configMap"]["items"]}
    assert mounted == {f"{SUB_PATH}/{path}": text for path, text in files.items()}


def test_probes_share_one_entry_for_their_code() -> None:
    files = {path: text for name in ("first", "second", "third") for path, text in models.probe(name).items()}
    volume = models.volume("models", files)
    assert len(volume.source["configMap"]["items"]) == 6
    assert len(volume.config_map["data"]) == 2


def test_parameters_of_a_probe_are_quoted_as_protobuf_text() -> None:
    config = models.probe("broken", fail_load='weights "are" missing', memory_mib=8)["broken/config.pbtxt"]
    assert r'parameters { key: "fail_load" value: { string_value: "weights \"are\" missing" } }' in config
    assert 'key: "memory_mib" value: { string_value: "8" }' in config


def test_the_demo_has_three_models_with_a_configuration_and_code_each() -> None:
    assert {path.partition("/")[0] for path in models.demo()} == {"language", "filetype", "sentiment"}
    assert len(models.demo()) == 6
