"""A local Telegram, as far as logging in goes: MTProto servers, accounts with phones, faults on demand.

`mtproto/` carries messages and knows nothing of accounts; `telegram/` knows accounts, logins and their rules
and nothing of sockets; `control/` is how tests and people drive it over HTTP. The package imports nothing of
app/, tasks/ or web/, so that it can tell on them.
"""
