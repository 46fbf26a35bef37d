// A real OpenID provider (npm `oidc-provider`, OpenID certified) on a free loopback port.
//
// Environment: REDIRECT_URIS (space-separated, required), CLIENT_ID, CLIENT_SECRET.
// Prints one JSON line when it listens: {"issuer","client_id","client_secret"}.
// Whatever name is typed into its login form exists; its e-mail is <name>@example.com, verified
// unless the name begins with "unverified".

import { generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';
import Provider from 'oidc-provider';

// Standard output carries the ready line and nothing else.
console.log = console.error;
console.info = console.error;

const client = {
  client_id: process.env.CLIENT_ID ?? 'grantlog',
  client_secret: process.env.CLIENT_SECRET ?? 'the-secret-grantlog-has-at-the-provider',
  redirect_uris: process.env.REDIRECT_URIS.split(' '),
  grant_types: ['authorization_code', 'refresh_token'],
  response_types: ['code'],
};

const signingKey = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;

const configuration = {
  clients: [client],
  jwks: { keys: [{ ...signingKey.export({ format: 'jwk' }), use: 'sig', alg: 'RS256', kid: 'interop' }] },
  cookies: { keys: ['a key for the cookies of a provider that lives as long as one test'] },
  scopes: ['openid', 'offline_access', 'read', 'write'],
  claims: { email: ['email', 'email_verified'], profile: ['name'] },
  conformIdTokenClaims: false,
  pkce: { required: () => true },
  issueRefreshToken: async () => true,
  findAccount: async (_ctx, sub) => ({
    accountId: sub,
    claims: async () => ({
      sub,
      name: sub,
      email: `${sub}@example.com`,
      email_verified: !sub.startsWith('unverified'),
    }),
  }),
};

const server = createServer();
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, configuration);
  for (const event of ['server_error', 'authorization.error', 'grant.error']) {
    provider.on(event, (ctx, error) => console.error(event, ctx?.path, error));
  }
  server.on('request', provider.callback());
  const { client_id, client_secret } = client;
  process.stdout.write(`${JSON.stringify({ issuer, client_id, client_secret })}\n`);
});
