"""The Kubernetes API as JSON: requests, lists and watches, Events, the Lease. Its errors stop here."""
