"""What a call costs beside an empty Flask view."""

from __future__ import annotations

import asyncio
import sys
from statistics import median
from typing import Any

from bench.http_load import Connection, keep_asking, request_bytes
from bench.web_process import Stores, show_qr_code, stores, web_process
import psutil, subprocess, time

def cpu(pid):
    p=psutil.Process(pid); return sum(sum(x.cpu_times()[:2]) for x in [p]+p.children(recursive=True))

async def go(of: Stores, port: int, empty: int, wpid, epid, prof):
    auth = {"Authorization": f"Bearer {of.api_key}"}
    c = await Connection.open(port)
    login = await c.ask_members(request_bytes("POST", "/v1/logins", headers=auth, members={}), 202)
    show_qr_code(of.core, login["id"])
    get = request_bytes("GET", f"/v1/logins/{login['id']}", headers=auth)
    print(await c.ask_members(get, 200))
    nothing = request_bytes("GET", "/")
    p=None
    if prof in("get","post"):
        p=subprocess.Popen(["/tmp/spy/bin/py-spy","record","-p",str(psutil.Process(wpid).children()[0].pid),"-d","600","-r","400","--gil","-f","raw","-o",f"/tmp/perf/h12b-{prof}.raw"],stdout=subprocess.DEVNULL,stderr=subprocess.DEVNULL); time.sleep(1)
    for _ in range(3):
        for (name,pt,rq,pid,n) in (("empty",empty,nothing,epid,16),("get",port,get,wpid,16)) if prof!="post" else (("post",port,request_bytes("POST", "/v1/logins", headers=auth, members={}),wpid,1),):
            b=cpu(pid)
            l = await keep_asking(pt, lambda: rq, expected=202 if name=="post" else 200, seconds=3, connections=n)
            print(name, f"{l.per_second:.0f}/s p50 {median(l.spent)*1000:.2f} ms cpu {(cpu(pid)-b)/len(l.spent)*1000:.3f} ms")
    if p: p.send_signal(2); p.wait()
def run():
    with stores() as of, web_process(of) as (port, wpid), web_process(of, application="bench.empty_view:app") as (empty, epid):
        asyncio.run(go(of, port, empty, wpid,epid, sys.argv[1] if len(sys.argv)>1 else None))
run()
