"""A real MCP client (official Python SDK, both protocol wires), end to end:
client.py <mcp url> [--no-auth]

Discovery, dynamic registration, PKCE, the person's way through the browser, code exchange,
`tools/list`, `tools/call`, progress over server-sent events, then a refresh.
Prints one JSON line a step; exits 0 only if every step held.
"""

import json
import sys

import anyio
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientMetadata

from browser import walk

REDIRECT_URI = "http://localhost:8977/callback"


def say(step, **facts):
    print(json.dumps({"step": step, **facts}), flush=True)


class Memory:
    """What an application keeps for the SDK, here in memory."""

    tokens = client = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens
        say("tokens", token_type=tokens.token_type, scope=tokens.scope, refresh_token=bool(tokens.refresh_token))

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client):
        self.client = client
        say("registered", client_id=client.client_id, client_secret=client.client_secret is not None)


class Person:
    """Takes the SDK's authorization URL through the browser."""

    async def redirect(self, url):
        self.url = url

    async def callback(self):
        answer, visited = await anyio.to_thread.run_sync(walk, self.url, REDIRECT_URI)
        say("returned", visited=visited, iss=answer.get("iss"), error=answer.get("error"))
        return AuthorizationCodeResult(code=answer["code"], state=answer.get("state"), iss=answer.get("iss"))


async def call(client, name, args, **options):
    result = await client.call_tool(name, args, **options)
    assert not result.is_error, result
    return result.content[0].text


async def use_tools(client):
    tools = [tool.name for tool in (await client.list_tools()).tools]
    say("tools/list", tools=tools)
    assert await call(client, "add", {"a": 20, "b": 22}) == "42"
    assert await call(client, "echo", {"text": "Grüße ✓"}) == "Grüße ✓"
    progress = []

    async def on_progress(done, _total, _message):
        progress.append(done)

    await call(client, "count", {"to": 5}, progress_callback=on_progress)
    assert progress == [1, 2, 3, 4, 5], progress
    say("tools/call", progress=len(progress))


async def refresh(client, auth, memory):
    before = memory.tokens
    auth.context.token_expiry_time = 1
    assert await call(client, "add", {"a": 1, "b": 1}) == "2"
    assert memory.tokens.access_token != before.access_token
    assert memory.tokens.refresh_token != before.refresh_token
    say("refreshed")


async def main(mcp_url, authenticate):
    memory, person = Memory(), Person()
    metadata = OAuthClientMetadata(
        client_name="Python SDK",
        redirect_uris=[REDIRECT_URI],
        grant_types=["authorization_code", "refresh_token"],
        response_types=["code"],
    )
    auth = OAuthClientProvider(mcp_url, metadata, memory, person.redirect, person.callback) if authenticate else None
    async with create_mcp_http_client(auth=auth) as http:
        async with Client(streamable_http_client(mcp_url, http_client=http)) as client:
            say("connected", protocol=client.protocol_version)
            await use_tools(client)
            if auth is not None:
                await refresh(client, auth, memory)
    say("done")


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], "--no-auth" not in sys.argv[2:])
