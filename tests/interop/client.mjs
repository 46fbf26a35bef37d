// A real MCP client (official TypeScript SDK, protocol revisions up to 2025-11-25), end to end:
// node client.mjs <mcp url> [--no-auth]
//
// Discovery, dynamic registration, PKCE, the person's way through the browser, code exchange,
// `tools/list`, `tools/call`, progress over server-sent events, then a refresh.
// Prints one JSON line a step; exits 0 only if every step held.

import assert from 'node:assert/strict';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { UnauthorizedError } from '@modelcontextprotocol/sdk/client/auth.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { Browser } from './browser.mjs';

const [mcpUrl, option] = process.argv.slice(2);
const redirectUri = 'http://localhost:8976/callback';
const say = (step, facts = {}) => process.stdout.write(`${JSON.stringify({ step, ...facts })}\n`);

/** What an application keeps for the SDK, here in memory. It sends no `state`, as the SDK does by default. */
class Memory {
  clientMetadata = {
    client_name: 'TypeScript SDK',
    redirect_uris: [redirectUri],
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    token_endpoint_auth_method: 'none',
  };
  redirectUrl = redirectUri;
  saved = {};
  clientInformation() { return this.saved.client; }
  saveClientInformation(client) {
    this.saved.client = client;
    say('registered', { client_id: client.client_id, client_secret: client.client_secret !== undefined });
  }
  tokens() { return this.saved.tokens; }
  saveTokens(tokens) {
    this.saved.tokens = tokens;
    say('tokens', { token_type: tokens.token_type, scope: tokens.scope, refresh_token: tokens.refresh_token !== undefined });
  }
  saveCodeVerifier(verifier) { this.saved.verifier = verifier; }
  codeVerifier() { return this.saved.verifier; }
  redirectToAuthorization(url) { this.authorizationUrl = url; }
}

const authProvider = option === '--no-auth' ? undefined : new Memory();
const transport = () => new StreamableHTTPClientTransport(new URL(mcpUrl), { authProvider });

async function authorize() {
  const first = transport();
  await assert.rejects(new Client({ name: 'interop', version: '1.0.0' }).connect(first), UnauthorizedError);
  say('challenged', { resource: authProvider.authorizationUrl.searchParams.get('resource') });
  const browser = new Browser();
  const answer = (await browser.walk(authProvider.authorizationUrl, redirectUri)).searchParams;
  say('returned', { visited: browser.visited, iss: answer.get('iss'), error: answer.get('error') ?? undefined });
  await first.finishAuth(answer.get('code'));
}

async function call(client, name, args, options) {
  const { content } = await client.callTool({ name, arguments: args }, undefined, options);
  return content[0].text;
}

async function useTools(client) {
  const { tools } = await client.listTools();
  say('tools/list', { tools: tools.map(({ name }) => name) });
  assert.equal(await call(client, 'add', { a: 20, b: 22 }), '42');
  assert.equal(await call(client, 'echo', { text: 'Grüße ✓' }), 'Grüße ✓');
  const progress = [];
  await call(client, 'count', { to: 5 }, { onprogress: (p) => progress.push(p.progress) });
  assert.deepEqual(progress, [1, 2, 3, 4, 5]);
  say('tools/call', { progress: progress.length });
}

async function refresh(client) {
  const before = authProvider.saved.tokens;
  authProvider.saved.tokens = { ...before, access_token: 'an access token that is no longer good' };
  assert.equal(await call(client, 'add', { a: 1, b: 1 }), '2');
  const after = authProvider.saved.tokens;
  assert.notEqual(after.access_token, before.access_token);
  assert.notEqual(after.refresh_token, before.refresh_token);
  say('refreshed');
}

if (authProvider !== undefined) await authorize();
const client = new Client({ name: 'interop', version: '1.0.0' });
await client.connect(transport());
say('connected', { server: client.getServerVersion()?.name });
await useTools(client);
if (authProvider !== undefined) await refresh(client);
await client.close();
say('done');
