"""Opens a session at the server whose address is given, signing with gpg, and prints the token."""

import datetime
import json
import secrets
import subprocess
import sys
import urllib.request

url = sys.argv[1]
with urllib.request.urlopen(f"{url}/v1") as reply:
    fleet = json.load(reply)["fleet"]
login = {
    "canvass": "login/1",
    "fleet": fleet,
    "server": url.removeprefix("http://"),
    "at": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
    "nonce": secrets.token_hex(16),
}
payload = json.dumps(login, separators=(",", ":"))
sign = ["gpg", "--quiet", "--batch", "--armor", "--detach-sign"]
signature = subprocess.run(sign, input=payload.encode(), capture_output=True, check=True).stdout.decode()
body = json.dumps({"payload": payload, "signatures": [signature]}).encode()
request = urllib.request.Request(f"{url}/v1/sessions", body, {"Content-Type": "application/json"})
with urllib.request.urlopen(request) as reply:
    print(json.load(reply)["token"])
