"""The Python snippets of the OAuth Proxy Quick Reference, verbatim and in its order:
quick_reference.py <server url> <gateway url> <proxy id>

They name https://gateway.com; `requests.post` is taken to the server under test, nothing else is
changed. Prints one JSON line a step; exits 0 only if every step held.
"""

import json
import sys
from urllib.parse import urlencode

from browser import walk

server_url, gateway_url, proxy_id = sys.argv[1:4]
redirect_uri = "https://your-app.com/callback"


def say(step, **facts):
    print(json.dumps({"step": step, **facts}), flush=True)


# Python: PKCE Generation
import secrets
import hashlib
import base64
def generate_code_verifier():
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode().rstrip('=')
def generate_code_challenge(verifier):
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip('=')

# Python: Token Exchange
import requests

post = requests.post
requests.post = lambda url, **options: post(
    url.replace("https://gateway.com:9001", gateway_url).replace("https://gateway.com", server_url), **options
)


def exchange(code, client_id, client_secret, code_verifier):
    response = requests.post(
        f'https://gateway.com/api/v1/oauth-proxy/{proxy_id}/token',
        data={
            'grant_type': 'authorization_code',
            'code': code,
            'redirect_uri': redirect_uri,
            'client_id': client_id,
            'client_secret': client_secret,
            'code_verifier': code_verifier
        }
    )
    tokens = response.json()
    return tokens


def is_token_answer(tokens):
    assert tokens["access_token"].startswith("eyJ"), tokens
    assert tokens["token_type"] == "Bearer"
    assert tokens["expires_in"] == 3600
    assert tokens["refresh_token"].startswith("gw_refresh_")
    assert tokens["scope"] == "read write"


registration = requests.post(
    f"https://gateway.com/api/v1/oauth-proxy/{proxy_id}/register",
    json={
        "redirect_uris": ["https://your-app.com/callback"],
        "client_name": "Your App Name",
        "token_endpoint_auth_method": "client_secret_post",
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
    },
)
assert registration.status_code == 201, registration.text
client = registration.json()
assert client["client_id"].startswith("gateway_")
assert client["client_secret"].startswith("gw_secret_")
say("registered", client_id=client["client_id"])

verifier = generate_code_verifier()
query = {
    "response_type": "code",
    "client_id": client["client_id"],
    "redirect_uri": redirect_uri,
    "state": "a state of the application",
    "code_challenge": generate_code_challenge(verifier),
    "code_challenge_method": "S256",
    "scope": "read write",
}
answer, visited = walk(f"{server_url}/api/v1/oauth-proxy/{proxy_id}/authorize?{urlencode(query)}", redirect_uri)
assert answer["state"] == query["state"], answer
say("authorized", visited=visited)

tokens = exchange(answer["code"], client["client_id"], client["client_secret"], verifier)
is_token_answer(tokens)
say("exchanged")

refreshed = requests.post(
    f"https://gateway.com/api/v1/oauth-proxy/{proxy_id}/token",
    data={
        "grant_type": "refresh_token",
        "refresh_token": tokens["refresh_token"],
        "client_id": client["client_id"],
        "client_secret": client["client_secret"],
    },
).json()
is_token_answer(refreshed)
assert refreshed["refresh_token"] != tokens["refresh_token"]
say("refreshed")

mcp = requests.post(
    "https://gateway.com:9001/mcp",
    headers={"Authorization": f"Bearer {refreshed['access_token']}"},
    json={"jsonrpc": "2.0", "method": "tools/list", "params": {}, "id": "1"},
)
assert mcp.status_code == 200, mcp.text
assert '"name":"add"' in mcp.text, mcp.text
say("tools/list")
say("done")
