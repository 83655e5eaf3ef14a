"""Settings of the programs around Latchkey: Gunicorn, Flower, Prometheus, Grafana."""
