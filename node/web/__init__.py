"""The status page: for people at ``/``, for programs at ``/status.json``, ``/healthz``, ``/readyz`` and ``/metrics``."""
