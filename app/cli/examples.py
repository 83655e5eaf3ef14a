"""An example of each command, shown below its ``--help``; a test sees that each is understood."""

from __future__ import annotations

import click

EXAMPLES = {
    "api-key create": "--tenant acme --scopes logins,sessions:read --name website --network 203.0.113.0/24",
    "api-key list": "--tenant acme",
    "api-key revoke": "key_4p1c8m5q7w2e9r6t3y0a",
    "api-key update": "key_4p1c8m5q7w2e9r6t3y0a --tenant acme --expires-at 2027-12-31",
    "audit export": "--tenant acme --action session.opened --since 2027-01-31",
    "audit verify": "",
    "backup expire": "",
    "backup run": "",
    "backup status": "--json",
    "backup verify": "--sample 100",
    "doctor": "",
    "keys destroy": "key_4p1c8m5q7w2e9r6t3y0a --reason 'old KMS key goes'",
    "keys list": "",
    "keys rewrap": "",
    "keys rotate": "--if-due",
    "login": "--end-user-id customer-17",
    "migrate": "--check",
    "restore": "--at 2027-01-31T12:00:00Z --tenant acme --run",
    "sessions import": "--tenant acme --file account.session",
    "sessions lease": "ses_4p1c8m5q7w2e9r6t3y0a --tenant acme --holder support --format pyrogram --ttl-seconds 600",
    "sessions list": "--tenant acme --status invalid",
    "sessions release-lease": "ses_4p1c8m5q7w2e9r6t3y0a lse_9f3k7d1s5g8h2j6k0l4z --tenant acme",
    "sessions renew-lease": "ses_4p1c8m5q7w2e9r6t3y0a lse_9f3k7d1s5g8h2j6k0l4z --tenant acme --ttl-seconds 600",
    "sessions revoke": "ses_4p1c8m5q7w2e9r6t3y0a --tenant acme",
    "sessions revoke-opened": "--tenant acme --holder old-bot --opened-since 2027-01-31",
    "sessions set-proxy": "ses_4p1c8m5q7w2e9r6t3y0a",
    "sessions show": "ses_4p1c8m5q7w2e9r6t3y0a --tenant acme --json",
    "sessions validate": "ses_4p1c8m5q7w2e9r6t3y0a --tenant acme",
    "tenant create": "acme --name 'Acme'",
    "tenant disable": "acme",
    "tenant enable": "acme",
    "tenant list": "--json",
    "tenant purge": "acme",
    "tenant set": "acme --brand-name 'Acme' --accent '#0a7c66' --redirect-url https://acme.example/connected",
    "tenant show": "acme",
    "webhooks create": "https://acme.example/hook --tenant acme --events login.authorized,session.invalid",
    "webhooks delete": "whe_4p1c8m5q7w2e9r6t3y0a --tenant acme",
    "webhooks deliveries": "whe_4p1c8m5q7w2e9r6t3y0a --tenant acme",
    "webhooks list": "--tenant acme",
    "webhooks replay": "whe_4p1c8m5q7w2e9r6t3y0a --tenant acme --since 2027-01-31",
    "webhooks rotate-secret": "whe_4p1c8m5q7w2e9r6t3y0a --tenant acme",
    "webhooks test": "whe_4p1c8m5q7w2e9r6t3y0a --tenant acme",
    "webhooks update": "whe_4p1c8m5q7w2e9r6t3y0a --tenant acme --enable",
}


def add_examples(command: click.Command, name: str) -> None:
    """Show each command below this one its example."""
    if isinstance(command, click.Group):
        for child in command.commands.values():
            add_examples(child, f"{name} {child.name}")
    elif name in EXAMPLES:
        command.epilog = f"\b\nExample:\n  python -m app {name} {EXAMPLES[name]}"
