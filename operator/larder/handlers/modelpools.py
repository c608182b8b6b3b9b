"""ModelPools: every event goes to the operator, which compares with what it has."""

from typing import Any

import kopf

from larder.api import names


@kopf.on.event(names.GROUP, names.VERSION, names.POOL_PLURAL)
async def pool_changed(event: Any, memo: kopf.Memo, **_: Any) -> None:
    """A pool was listed, added, changed or deleted."""
    manifest = event["object"]
    if event["type"] == "DELETED":
        meta = manifest["metadata"]
        memo.process.operator.remove_pool((meta["namespace"], meta["name"]))
    else:
        memo.process.operator.put_pool({**manifest})
