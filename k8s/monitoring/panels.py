"""What the dashboards show: one tuple of panels for each."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Panel:
    """One graph.

    Attributes:
        title: What it shows.
        unit: Grafana's name of the unit, such as `s`, `bytes`, `percentunit`.
        lines: From what a line is called to its PromQL; `{{label}}` in a name.
        says: How to read it.
    """

    title: str
    unit: str
    lines: dict[str, str]
    says: str = ""


def _p95(metric: str, by: str, where: str = "") -> str:
    return (
        f"histogram_quantile(0.95, sum by (le, {by}) "
        f"(rate({metric}_bucket{where}[5m])))"
    )


PIPELINE = (
    Panel(
        "Recipients answered",
        "cps",
        {
            "{{outcome}}": "sum by (outcome) "
            "(rate(batchsender_answered_recipients_total[5m]))"
        },
        "What calls to providers made of recipients, a second.",
    ),
    Panel(
        "Waiting",
        "short",
        {
            "recipients": "max(batchsender_waiting_recipients)",
            "reports": "max(batchsender_waiting_events)",
        },
        "What could be done now and is not. KEDA scales by it.",
    ),
    Panel(
        "Batches",
        "short",
        {
            "{{status}}": "max by (status) (batchsender_active_batches)",
            "stuck": "max(batchsender_stuck_batches)",
        },
        "Stuck ones move by themselves after recovery, or need a look.",
    ),
    Panel(
        "Age of what is not folded",
        "s",
        {
            "outcomes": "max(batchsender_sync_lag_seconds)",
            "events": "max(batchsender_event_log_lag_seconds)",
        },
        "Outcomes not yet in Postgres' counters, and folded chunks not in ClickHouse.",
    ),
    Panel(
        "Claims, p95",
        "s",
        {
            "claim": "histogram_quantile(0.95, sum by (le) "
            "(rate(batchsender_claim_seconds_bucket[5m])))"
        },
        "A claim is one committed statement: it is as slow as Postgres' disk.",
    ),
    Panel(
        "Folded chunks and logged events",
        "cps",
        {
            "chunks": "sum(rate(batchsender_folded_chunks_total[5m]))",
            "events": "sum(rate(batchsender_event_rows_total[5m]))",
        },
    ),
    Panel(
        "API requests",
        "reqps",
        {
            "{{app}} {{status}}": "sum by (app, status) "
            '(rate(batchsender_http_requests_total{route!~"/health.*"}[5m]))'
        },
    ),
    Panel(
        "API, p95 by route",
        "s",
        {
            "{{method}} {{route}}": _p95(
                "batchsender_http_request_seconds",
                "method, route",
                '{route!~"/health.*|none"}',
            )
        },
        "Uploads are as slow as whoever uploads.",
    ),
    Panel(
        "Duties, mean",
        "s",
        {
            "{{duty}}": "sum by (duty) (rate(batchsender_duty_seconds_sum[5m])) / "
            "sum by (duty) (rate(batchsender_duty_seconds_count[5m]))",
        },
        "Rounds of the leader.",
    ),
    Panel(
        "Duties that fail",
        "cps",
        {"{{duty}}": "sum by (duty) (rate(batchsender_duty_failures_total[5m]))"},
    ),
    Panel(
        "Leaders",
        "short",
        {"leaders": "sum(batchsender_leads)"},
        "One. Every scheduler leads while Dragonfly is away; the work is safe then.",
    ),
)

TENANTS = (
    Panel(
        "Waiting recipients of the largest tenants",
        "short",
        {"{{tenant}}": "max by (tenant) (batchsender_tenant_waiting_recipients)"},
        "The 20 tenants with the most.",
    ),
    Panel(
        "Tenants with messages, by backlog",
        "short",
        {
            "{{queue}} {{tenant_class}}": "max by (queue, tenant_class) "
            "(dramatiq_nats_tenant_tenants)"
        },
    ),
    Panel(
        "Oldest message, by backlog",
        "s",
        {
            "{{queue}} {{tenant_class}}": "max by (queue, tenant_class) "
            "(dramatiq_nats_tenant_oldest_seconds)"
        },
        "Fair: small tenants wait no longer because of large ones.",
    ),
    Panel(
        "Messages, by backlog",
        "short",
        {
            "{{queue}} {{tenant_class}}": "max by (queue, tenant_class) "
            "(dramatiq_nats_tenant_stored)"
        },
    ),
    Panel(
        "Calls to tenants' webhook endpoints",
        "cps",
        {
            "{{outcome}}": "sum by (outcome) "
            "(rate(batchsender_outgoing_attempts_total[5m]))"
        },
    ),
    Panel(
        "Held configs",
        "short",
        {"{{provider}}": "max by (provider) (batchsender_held_configs)"},
        "Each says why; its tenant resumes it.",
    ),
    Panel(
        "What tenants ask of the API",
        "reqps",
        {
            "{{method}} {{route}}": "sum by (method, route) "
            '(rate(batchsender_http_requests_total{app="web",route=~"/api/.*"}[5m]))'
        },
    ),
)

PROVIDERS = (
    Panel(
        "Calls",
        "reqps",
        {
            "{{provider}}": "sum by (provider) "
            "(rate(batchsender_provider_call_seconds_count[5m]))"
        },
    ),
    Panel(
        "Calls, p95",
        "s",
        {"{{provider}}": _p95("batchsender_provider_call_seconds", "provider")},
        "A call is given up after CALL_DEADLINE_S (20 s).",
    ),
    Panel(
        "Outcomes",
        "cps",
        {
            "{{provider}} {{outcome}}": "sum by (provider, outcome) "
            "(rate(batchsender_answered_recipients_total[5m]))"
        },
    ),
    Panel(
        "Faults",
        "cps",
        {
            "{{provider}}": "sum by (provider) "
            "(rate(batchsender_provider_faults_total[5m]))"
        },
        "5xx, time-outs and connections that failed.",
    ),
    Panel(
        "Open breakers",
        "short",
        {"{{provider}}": "max by (provider) (batchsender_open_breakers)"},
    ),
    Panel(
        "Held back by breakers",
        "cps",
        {
            "{{provider}} waits": "sum by (provider) "
            "(rate(batchsender_breaker_waits_total[5m]))",
            "{{provider}} probes": "sum by (provider) "
            "(rate(batchsender_breaker_probes_total[5m]))",
            "{{provider}} {{change}}": "sum by (provider, change) "
            "(rate(batchsender_breaker_changes_total[5m]))",
        },
    ),
    Panel(
        "Reports",
        "cps",
        {
            "{{provider}} {{status}}": "sum by (provider, status) "
            "(rate(batchsender_reported_recipients_total[5m]))"
        },
    ),
    Panel(
        "What became of reports",
        "cps",
        {
            "{{provider}} {{became}}": "sum by (provider, became) "
            "(rate(batchsender_reports_total[5m]))",
            "stopped themselves": "sum(rate(batchsender_brakes_total[5m]))",
        },
        "Waiting ones name a message that the log does not know yet.",
    ),
    Panel(
        "Bounces and complaints in an hour",
        "percentunit",
        {
            "{{provider}} {{status}}": "sum by (provider, status) (increase("
            "batchsender_reported_recipients_total"
            '{status=~"bounced|complained"}[1h])) / on (provider) group_left '
            "sum by (provider) (increase("
            'batchsender_answered_recipients_total{outcome="sent"}[1h]))'
        },
        "Of those sent in the same hour. Alerts: bounces above 3 and 10 %.",
    ),
)

BROKER = (
    Panel(
        "Ready messages",
        "short",
        {"{{queue}}": "max by (queue) (dramatiq_nats_queue_ready)"},
    ),
    Panel(
        "In flight",
        "short",
        {
            "{{queue}}": "max by (queue) (dramatiq_nats_queue_in_flight)",
            "{{queue}} again": "max by (queue) (dramatiq_nats_queue_redelivered)",
        },
    ),
    Panel(
        "Oldest message",
        "s",
        {"{{queue}}": "max by (queue) (dramatiq_nats_queue_oldest_seconds)"},
    ),
    Panel(
        "Delayed, and dead letters",
        "short",
        {
            "{{queue}} delayed": "max by (queue) (dramatiq_nats_queue_delayed)",
            "{{queue}} dead": "max by (queue) (dramatiq_nats_queue_dead)",
        },
    ),
    Panel(
        "Jobs",
        "cps",
        {
            "{{actor}}": "sum by (actor) "
            "(rate(dramatiq_nats_jobs_processed_total[5m]))",
            "{{actor}} failed": "sum by (actor) "
            "(rate(dramatiq_nats_jobs_failed_total[5m]))",
            "{{actor}} retried": "sum by (actor) "
            "(rate(dramatiq_nats_jobs_retried_total[5m]))",
            "{{actor}} skipped": "sum by (actor) "
            "(rate(dramatiq_nats_jobs_skipped_total[5m]))",
            "{{actor}} redelivered": "sum by (actor) "
            "(rate(dramatiq_nats_jobs_redelivered_total[5m]))",
        },
    ),
    Panel(
        "Jobs, p95",
        "s",
        {"{{actor}}": _p95("dramatiq_nats_job_seconds", "actor")},
    ),
    Panel(
        "Publishing, p95",
        "s",
        {"{{queue}}": _p95("dramatiq_nats_publish_seconds", "queue")},
        "Until NATS has stored a message, or a page of them.",
    ),
    Panel(
        "Tenants with messages",
        "short",
        {"{{queue}}": "max by (queue) (dramatiq_nats_queue_tenants)"},
    ),
    Panel(
        "JetStream's storage",
        "bytes",
        {
            "stored": "max(dramatiq_nats_stored_bytes)",
            "limit": "max(dramatiq_nats_stored_limit_bytes)",
        },
    ),
)

NEIGHBOURS = (
    Panel(
        "Who answers the leader",
        "short",
        {
            "{{neighbour}}": "min by (neighbour) (batchsender_neighbour_up)",
            "broker": "min(dramatiq_nats_up)",
        },
    ),
    Panel(
        "Database pools, the fullest",
        "percentunit",
        {
            "{{app_kubernetes_io_name}}": "max by (app_kubernetes_io_name) "
            "(batchsender_database_pool_in_use) / max by (app_kubernetes_io_name) "
            "(batchsender_database_pool_size > 0)"
        },
        "A full pool lets threads wait for DATABASE_POOL_TIMEOUT_S.",
    ),
    Panel(
        "Postgres' connections",
        "short",
        {
            "connections": "max(batchsender_database_connections)",
            "limit": "max(batchsender_database_connections_limit)",
        },
    ),
    Panel(
        "Replication lag",
        "s",
        {"lag": "max(batchsender_database_replication_lag_seconds)"},
    ),
    Panel(
        "Dragonfly's memory",
        "bytes",
        {
            "used": "max(batchsender_dragonfly_memory_bytes)",
            "limit": "max(batchsender_dragonfly_memory_limit_bytes)",
        },
    ),
    Panel(
        "Keys that Dragonfly threw away",
        "short",
        {"evicted": "max(batchsender_dragonfly_evicted_keys)"},
        "Must be 0: it is to run without eviction.",
    ),
    Panel(
        "Waiting for ClickHouse",
        "bytes",
        {"{{rows}}": "sum by (rows) (batchsender_spool_bytes)"},
        "On the disks of our processes.",
    ),
    Panel(
        "Chunks waiting for ClickHouse",
        "short",
        {"chunks": "max(batchsender_unlogged_chunks)"},
        "In the ledger.",
    ),
    Panel(
        "ClickHouse's disks",
        "percentunit",
        {
            "{{disk}}": "1 - max by (disk) (batchsender_clickhouse_disk_free_bytes) / "
            "max by (disk) (batchsender_clickhouse_disk_bytes)"
        },
    ),
    Panel(
        "Volumes",
        "percentunit",
        {
            "{{persistentvolumeclaim}}": "max by (persistentvolumeclaim) "
            '(kubelet_volume_stats_used_bytes{namespace="batchsender"}) / '
            "max by (persistentvolumeclaim) "
            '(kubelet_volume_stats_capacity_bytes{namespace="batchsender"})'
        },
    ),
)

DASHBOARDS = {
    "pipeline": PIPELINE,
    "tenants": TENANTS,
    "providers": PROVIDERS,
    "broker": BROKER,
    "neighbours": NEIGHBOURS,
}
