class Written:
    """An API server that notes what is written, in order."""

    def __init__(self):
        self.written = []

    async def apply(self, manifest, subresource=None):
        self.written.append(manifest["metadata"]["name"])
        return manifest
