// A certified authorization server with clients of every kind, for the tests. It listens on a free loopback port
// and prints one line of JSON: its issuer, and the credentials that it has made up.

import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { createServer } from 'node:http';

import Provider from 'oidc-provider';

// Standard output is closed after its first line.
console.info = console.error;

const SECRET = 'p@ss word/+%&=:~';
const ACCOUNT = 'ada-1815';
const JWT_CLIENTS = {
  RS256: ['rsa', { modulusLength: 2048 }, 'pkcs1'],
  PS256: ['rsa', { modulusLength: 2048 }, 'pkcs8'],
  ES256: ['ec', { namedCurve: 'P-256' }, 'sec1'],
};

const client = (client_id, method, more) => ({
  client_id,
  token_endpoint_auth_method: method,
  grant_types: ['client_credentials'],
  redirect_uris: [],
  response_types: [],
  scope: 'read',
  ...more,
});

const privateKeys = {};
const jwtClients = Object.entries(JWT_CLIENTS).map(([alg, [type, options, format]]) => {
  const { privateKey, publicKey } = generateKeyPairSync(type, options);
  privateKeys[alg] = privateKey.export({ type: format, format: 'pem' });
  const jwk = { ...publicKey.export({ format: 'jwk' }), kid: alg, alg, use: 'sig' };
  return client(`jwt-${alg}`, 'private_key_jwt', {
    token_endpoint_auth_signing_alg: alg,
    jwks: { keys: [jwk] },
  });
});

// A person who signs in and agrees to everything, at once.
const agree = async (provider, request, response) => {
  const { prompt, params, session } = await provider.interactionDetails(request, response);
  if (prompt.name === 'login') {
    await provider.interactionFinished(request, response, { login: { accountId: ACCOUNT } });
    return;
  }
  const grant = new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  grant.addOIDCScope(params.scope);
  await provider.interactionFinished(request, response, { consent: { grantId: await grant.save() } });
};

const server = createServer();
server.listen(0, '127.0.0.1', async () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [
      client('basic client:1', 'client_secret_basic', { client_secret: SECRET }),
      client('post', 'client_secret_post', { client_secret: SECRET }),
      ...jwtClients,
      client('refreshing', 'client_secret_basic', {
        client_secret: SECRET,
        grant_types: ['authorization_code', 'refresh_token'],
        redirect_uris: ['https://client.example.com/callback'],
        response_types: ['code'],
        scope: 'openid offline_access',
      }),
      client('connecting', 'client_secret_basic', {
        client_secret: SECRET,
        grant_types: ['authorization_code', 'refresh_token'],
        redirect_uris: ['https://connect.example.com/callback/crm'],
        response_types: ['code'],
        scope: 'openid offline_access',
      }),
    ],
    scopes: ['openid', 'offline_access', 'read', 'write'],
    clientAuthMethods: ['client_secret_basic', 'client_secret_post', 'private_key_jwt'],
    enabledJWA: { clientAuthSigningAlgValues: Object.keys(JWT_CLIENTS) },
    features: { clientCredentials: { enabled: true }, devInteractions: { enabled: false } },
    findAccount: (_context, accountId) => ({ accountId, claims: () => ({ sub: accountId }) }),
    rotateRefreshToken: true,
    ttl: { AccessToken: 3600, ClientCredentials: 600, RefreshToken: 86400, Grant: 86400 },
  });
  const handle = provider.callback();
  server.on('request', (request, response) => {
    if (request.url.startsWith('/interaction/')) agree(provider, request, response);
    else handle(request, response);
  });

  // What a person's consent in a browser would leave behind.
  const accountId = randomUUID();
  const grant = new provider.Grant({ accountId, clientId: 'refreshing' });
  grant.addOIDCScope('openid offline_access');
  const refreshToken = new provider.RefreshToken({
    accountId,
    client: await provider.Client.find('refreshing'),
    grantId: await grant.save(),
    gty: 'authorization_code',
    scope: 'openid offline_access',
  });
  console.log(JSON.stringify({ issuer, clientSecret: SECRET, privateKeys, refreshToken: await refreshToken.save() }));
});
