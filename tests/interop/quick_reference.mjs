// The JavaScript snippets of the OAuth Proxy Quick Reference, verbatim and in its order:
// node quick_reference.mjs <server url> <gateway url> <proxy id>
//
// They name https://gateway.com; `fetch` below takes them to the server under test, nothing else
// is changed. Prints one JSON line a step; exits 0 only if every step held.

import assert from 'node:assert/strict';
import { Browser } from './browser.mjs';

const [serverUrl, gatewayUrl, proxyID] = process.argv.slice(2);
const redirectURI = 'https://your-app.com/callback';
const say = (step, facts = {}) => process.stdout.write(`${JSON.stringify({ step, ...facts })}\n`);
const here = (url) =>
  String(url).replace('https://gateway.com:9001', gatewayUrl).replace('https://gateway.com', serverUrl);
const fetch = (url, options) => globalThis.fetch(here(url), options);

// Generate code verifier
function generateCodeVerifier() {
  const array = new Uint8Array(32);
  crypto.getRandomValues(array);
  return btoa(String.fromCharCode(...array))
    .replace(/\+/g, '-')
    .replace(/\//g, '_')
    .replace(/=/g, '');
}
// Generate code challenge
async function generateCodeChallenge(verifier) {
  const encoder = new TextEncoder();
  const data = encoder.encode(verifier);
  const digest = await crypto.subtle.digest('SHA-256', data);
  return btoa(String.fromCharCode(...new Uint8Array(digest)))
    .replace(/\+/g, '-')
    .replace(/\//g, '_')
    .replace(/=/g, '');
}

function authorizationUrl(clientID, state, codeChallenge) {
  const authURL = new URL(`https://gateway.com/api/v1/oauth-proxy/${proxyID}/authorize`);
  authURL.searchParams.set('response_type', 'code');
  authURL.searchParams.set('client_id', clientID);
  authURL.searchParams.set('redirect_uri', redirectURI);
  authURL.searchParams.set('state', state);
  authURL.searchParams.set('code_challenge', codeChallenge);
  authURL.searchParams.set('code_challenge_method', 'S256');
  return authURL;
}

async function exchange(code, clientID, clientSecret, codeVerifier) {
  const response = await fetch(`https://gateway.com/api/v1/oauth-proxy/${proxyID}/token`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/x-www-form-urlencoded' },
    body: new URLSearchParams({
      grant_type: 'authorization_code',
      code: code,
      redirect_uri: redirectURI,
      client_id: clientID,
      client_secret: clientSecret,
      code_verifier: codeVerifier
    })
  });
  const tokens = await response.json();
  return tokens;
}

async function mcpRequest(gatewayJWT) {
  const response = await fetch('https://gateway.com:9001/mcp', {
    method: 'POST',
    headers: {
      'Authorization': `Bearer ${gatewayJWT}`,
      'Content-Type': 'application/json'
    },
    body: JSON.stringify({
      jsonrpc: '2.0',
      method: 'tools/list',
      params: {},
      id: Math.random().toString(36)
    })
  });
  return response;
}

function isTokenAnswer(tokens) {
  assert.match(tokens.access_token, /^eyJ/, JSON.stringify(tokens));
  assert.equal(tokens.token_type, 'Bearer');
  assert.equal(tokens.expires_in, 3600);
  assert.match(tokens.refresh_token, /^gw_refresh_/);
  assert.equal(tokens.scope, 'read write');
}

// Dynamic Client Registration
const registration = await fetch(`https://gateway.com/api/v1/oauth-proxy/${proxyID}/register`, {
  method: 'POST',
  headers: { 'Content-Type': 'application/json' },
  body: JSON.stringify({
    redirect_uris: ['https://your-app.com/callback'],
    client_name: 'Your App Name',
    token_endpoint_auth_method: 'client_secret_post',
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
  }),
});
assert.equal(registration.status, 201);
const client = await registration.json();
assert.match(client.client_id, /^gateway_/);
assert.match(client.client_secret, /^gw_secret_/);
assert.equal(typeof client.client_id_issued_at, 'number');
say('registered', { client_id: client.client_id });

// Authorization
const verifier = generateCodeVerifier();
const state = 'a state of the application';
const challenge = await generateCodeChallenge(verifier);
const browser = new Browser();
const callback = await browser.walk(here(authorizationUrl(client.client_id, state, challenge)), redirectURI);
assert.equal(callback.searchParams.get('state'), state);
say('authorized', { visited: browser.visited });

// Token Exchange
const tokens = await exchange(callback.searchParams.get('code'), client.client_id, client.client_secret, verifier);
isTokenAnswer(tokens);
say('exchanged');

// Token Refresh
const refreshed = await fetch(`https://gateway.com/api/v1/oauth-proxy/${proxyID}/token`, {
  method: 'POST',
  headers: { 'Content-Type': 'application/x-www-form-urlencoded' },
  body: new URLSearchParams({
    grant_type: 'refresh_token',
    refresh_token: tokens.refresh_token,
    client_id: client.client_id,
    client_secret: client.client_secret,
  }),
});
const fresh = await refreshed.json();
isTokenAnswer(fresh);
assert.notEqual(fresh.refresh_token, tokens.refresh_token);
say('refreshed');

// Well-Known Endpoints
const metadata = await (await fetch(`https://gateway.com/.well-known/oauth-authorization-server?proxy_id=${proxyID}`)).json();
assert.equal(metadata.token_endpoint, `${serverUrl}/api/v1/oauth-proxy/${proxyID}/token`);
assert.deepEqual(metadata.code_challenge_methods_supported, ['S256']);
say('discovered');

// MCP Request
const mcp = await mcpRequest(fresh.access_token);
const answer = await mcp.text();
assert.equal(mcp.status, 200, answer);
assert.match(answer, /"name":"add"/);
say('tools/list', { content_type: mcp.headers.get('content-type') });
say('done');
