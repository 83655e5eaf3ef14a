"""A local Telegram, as far as logging in goes: MTProto 2.0 servers, accounts with their phones, and faults on demand.

`mtproto/` carries messages and knows nothing of accounts; `telegram/` knows accounts, logins and their rules and nothing
of sockets; `control/` is how tests and people drive it over HTTP. The package imports nothing of app/, tasks/ or web/, so
that it can tell on them.
"""
