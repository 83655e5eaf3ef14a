"""The control API: JSON over HTTP on loopback.

Translates between the wire and the parts; decides nothing itself.
"""

import asyncio
from typing import Any, Final

from aiohttp import web

from sandbox.control import inputs, phone_page, shown
from sandbox.control.bodies import Body, BodyError
from sandbox.control.controlled import Controlled
from sandbox.mtproto.network import NetworkMode
from sandbox.telegram.errors import RpcError
from sandbox.telegram.model import USUAL_CODE_WAYS, AcceptMode, Account, AccountState, CodeWay
from sandbox.telegram.srp import Password

_MAXIMUM_BODY_BYTES: Final = 64 * 1024
_LATEST_MESSAGES: Final = 20


class ControlApi:
    """The HTTP side of one sandbox."""

    def __init__(self, sandbox: Controlled) -> None:
        self._sandbox = sandbox
        app = web.Application(client_max_size=_MAXIMUM_BODY_BYTES, middlewares=[_errors_as_json])
        app.router.add_get("/accounts", self._list_accounts)
        app.router.add_post("/accounts", self._create_account)
        app.router.add_get("/accounts/{id:-?[0-9]+}", self._show_account)
        app.router.add_post("/accounts/{id:-?[0-9]+}/scan", self._scan)
        app.router.add_get("/accounts/{id:-?[0-9]+}/authorizations", self._list_authorizations)
        app.router.add_delete("/accounts/{id:-?[0-9]+}/authorizations", self._terminate_all)
        app.router.add_delete("/accounts/{id:-?[0-9]+}/authorizations/{hash:-?[0-9]+}", self._terminate)
        app.router.add_get("/accounts/{id:-?[0-9]+}/messages", self._list_messages)
        app.router.add_post("/accounts/{id:-?[0-9]+}/state", self._set_state)
        app.router.add_put("/accounts/{id:-?[0-9]+}/password", self._set_password)
        app.router.add_delete("/accounts/{id:-?[0-9]+}/password", self._remove_password)
        app.router.add_get("/login-tokens", self._list_login_tokens)
        app.router.add_get("/messages", self._list_latest_messages)
        app.router.add_get("/faults", self._list_faults)
        app.router.add_post("/faults", self._add_fault)
        app.router.add_delete("/faults", self._clear_faults)
        app.router.add_delete("/faults/{id:[0-9]+}", self._remove_fault)
        app.router.add_get("/network", self._show_network)
        app.router.add_post("/network", self._change_network)
        app.router.add_get("/stats", self._show_stats)
        app.router.add_routes(phone_page.ROUTES)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)

    async def start(self, host: str, ports: tuple[int, int]) -> int:
        """Listen on the first port, or on the second when that is taken; return which it is."""
        await self._runner.setup()
        first, second = ports
        try:
            await web.TCPSite(self._runner, host, first).start()
        except OSError:
            if first == second:
                raise
            await web.TCPSite(self._runner, host, second).start()
        return int(self._runner.addresses[0][1])

    async def close(self) -> None:
        """Stop listening."""
        await self._runner.cleanup()

    # -- accounts

    async def _list_accounts(self, request: web.Request) -> web.Response:
        del request
        return web.json_response({"data": [shown.account(a) for a in self._sandbox.cloud.accounts.values()]})

    async def _show_account(self, request: web.Request) -> web.Response:
        return web.json_response(shown.account(self._account(request)))

    async def _create_account(self, request: web.Request) -> web.Response:
        body = Body(await request.read())
        fields = {name: body.take(name, str) for name in ("phone", "first_name", "username")}
        given = {name: value for name, value in fields.items() if value is not None}
        password, hint = body.take("password", str), body.take("hint", str)
        dc_id, accept = body.take("dc_id", int), body.take_choice("accept", AcceptMode)
        code_ways = body.take_choices("code_deliveries", CodeWay)
        body.finish()
        secret = await asyncio.to_thread(Password.create, password, hint or "") if password else None
        try:
            account = self._sandbox.cloud.create_account(
                **given,
                password=secret,
                dc_id=dc_id,
                accept=accept or AcceptMode.NEXT_EXPORT,
                code_ways=code_ways or USUAL_CODE_WAYS,
            )
        except ValueError as exc:
            raise BodyError(str(exc)) from exc
        return web.json_response(shown.account(account), status=201)

    async def _scan(self, request: web.Request) -> web.Response:
        """Let the account's phone accept a login token; faults for auth.acceptLoginToken hold here too."""
        account, body = self._account(request), Body(await request.read())
        url = body.take("url", str)
        body.finish()
        if url is None:
            raise BodyError("url is missing")
        fault = self._sandbox.faults.take(
            "auth.acceptLoginToken", user_id=account.user_id, auth_key_id=None, by_name=True
        )
        if fault is not None:
            await asyncio.sleep(fault.delay_seconds)
            if fault.error:
                raise RpcError(fault.error)
        self._sandbox.login_tokens.accept(account, inputs.login_token(url))
        return web.json_response({"accepted": True})

    async def _list_authorizations(self, request: web.Request) -> web.Response:
        authorizations = self._account(request).authorizations.values()
        return web.json_response({"data": [shown.authorization(a) for a in authorizations]})

    async def _terminate(self, request: web.Request) -> web.Response:
        account = self._account(request)
        if not self._sandbox.cloud.terminate(account, int(request.match_info["hash"])):
            raise web.HTTPNotFound(text="no such authorization")
        return web.json_response({"terminated": 1})

    async def _terminate_all(self, request: web.Request) -> web.Response:
        count = self._sandbox.cloud.terminate_all(self._account(request))
        return web.json_response({"terminated": count})

    async def _list_messages(self, request: web.Request) -> web.Response:
        messages = self._account(request).messages
        return web.json_response({"data": [shown.message(m) for m in messages]})

    async def _set_state(self, request: web.Request) -> web.Response:
        account, body = self._account(request), Body(await request.read())
        state = body.take_choice("state", AccountState)
        body.finish()
        if state is None:
            raise BodyError("state is missing")
        self._sandbox.cloud.set_state(account, state)
        return web.json_response(shown.account(account))

    async def _set_password(self, request: web.Request) -> web.Response:
        account, body = self._account(request), Body(await request.read())
        password, hint = body.take("password", str), body.take("hint", str)
        body.finish()
        if not password:
            raise BodyError("password is missing or empty; DELETE removes it")
        secret = await asyncio.to_thread(Password.create, password, hint or "")
        self._sandbox.cloud.set_password(account, secret)
        return web.json_response(shown.account(account))

    async def _remove_password(self, request: web.Request) -> web.Response:
        account = self._account(request)
        self._sandbox.cloud.set_password(account, None)
        return web.json_response(shown.account(account))

    async def _list_login_tokens(self, request: web.Request) -> web.Response:
        """List what a phone could scan now; it shows secrets, as a QR code on a screen does."""
        del request
        return web.json_response({"data": [shown.login_token(*each) for each in self._sandbox.login_tokens.waiting()]})

    async def _list_latest_messages(self, request: web.Request) -> web.Response:
        del request
        latest = self._sandbox.cloud.latest_messages(_LATEST_MESSAGES)
        data = [{"account_id": account.user_id, **shown.message(message)} for account, message in latest]
        return web.json_response({"data": data})

    def _account(self, request: web.Request) -> Account:
        account = self._sandbox.cloud.accounts.get(int(request.match_info["id"]))
        if account is None:
            raise web.HTTPNotFound(text="no such account")
        return account

    # -- misbehaviour

    async def _list_faults(self, request: web.Request) -> web.Response:
        del request
        return web.json_response({"data": [shown.fault(fault) for fault in self._sandbox.faults.waiting()]})

    async def _add_fault(self, request: web.Request) -> web.Response:
        fault = inputs.fault_of(Body(await request.read()))
        self._sandbox.faults.add(fault)
        return web.json_response(shown.fault(fault), status=201)

    async def _clear_faults(self, request: web.Request) -> web.Response:
        """Forget all faults, and the flood waits that they started."""
        del request
        count = len(self._sandbox.faults.waiting())
        self._sandbox.faults.clear()
        self._sandbox.violations.lift_waits()
        return web.json_response({"cleared": count})

    async def _remove_fault(self, request: web.Request) -> web.Response:
        """Forget one fault; a flood wait that it has started goes on."""
        if not self._sandbox.faults.remove(int(request.match_info["id"])):
            raise web.HTTPNotFound(text="no such fault")
        return web.json_response({"removed": 1})

    async def _show_network(self, request: web.Request) -> web.Response:
        del request
        return web.json_response(shown.network(self._sandbox.network))

    async def _change_network(self, request: web.Request) -> web.Response:
        body = Body(await request.read())
        if body.is_empty:
            raise BodyError("mode, latency_ms or cut_all is missing")
        mode = body.take_choice("mode", NetworkMode)
        latency_ms = body.take_number("latency_ms", minimum=0, maximum=inputs.MAXIMUM_DELAY_MS)
        cut_all = body.take("cut_all", bool)
        body.finish()
        network = self._sandbox.network
        if latency_ms is not None:
            network.latency_seconds = latency_ms / 1000
        if mode is not None:
            await self._sandbox.change_network(mode)
        cut = network.cut_all() if cut_all else 0
        return web.json_response({**shown.network(network), "cut": cut})

    async def _show_stats(self, request: web.Request) -> web.Response:
        del request
        return web.json_response(self._sandbox.stats())


@web.middleware
async def _errors_as_json(request: web.Request, handler: Any) -> web.StreamResponse:
    """Answer every error as {"error": …}."""
    try:
        response: web.StreamResponse = await handler(request)
    except (BodyError, RpcError) as exc:
        return web.json_response({"error": str(exc)}, status=400)
    except web.HTTPException as exc:
        return web.json_response({"error": exc.text or exc.reason}, status=exc.status)
    return response
