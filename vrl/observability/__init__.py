"""What the processes of a run show while they work: series for Prometheus, spans for traces, dashboards of both."""
