// npm's cognito-local behind the addresses of a real user pool: its sign-in form, codes, PKCE, claims and groups, and
// around it what it lacks and Cognito has: a discovery document with endpoints, the nonce, keys that change, sign-out.
//
// ISSUER: of the pool, as AWS names it. PORT: where the endpoints are, by https. TUNNEL: port of an HTTP proxy that
// leads every host to them. KEY: file with its one private key as a JWK. CERTIFICATE, CERTIFICATE_KEY: PEM files.
// CLIENTS: JSON, client id -> redirect URIs; a site's `/-/callback` has `/-/logout` beside it.
import { createHash, createPrivateKey, createPublicKey, sign } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer as createProxy } from 'node:http';
import { createServer } from 'node:https';
import { connect } from 'node:net';
import cognitoLocal from 'cognito-local';
import pino from 'pino';

const { ISSUER, PORT, TUNNEL, KEY, CERTIFICATE, CERTIFICATE_KEY, CLIENTS } = process.env;
const origin = `https://127.0.0.1:${PORT}`;
const pool = ISSUER.split('/').pop();
const clients = JSON.parse(CLIENTS);
const groups = { students: ['ann', 'ben'], teachers: ['tess'] };
const jwk = JSON.parse(readFileSync(KEY, 'utf8'));
const privateKey = createPrivateKey({ key: jwk, format: 'jwk' });
const publicKey = { ...createPublicKey(privateKey).export({ format: 'jwk' }), kid: jwk.kid, use: 'sig', alg: 'RS256' };
const encoded = value => Buffer.from(JSON.stringify(value)).toString('base64url');
const hash = text => createHash('sha256').update(text).digest('base64url');

function write(name, content) {
  writeFileSync(`.cognito/${name}.json`, JSON.stringify(content));
}

function user(name) {
  const attributes = { sub: name, email: `${name}@example.com`, email_verified: 'true' };
  return {
    Username: name,
    Password: 'any',
    UserStatus: 'CONFIRMED',
    Enabled: true,
    Attributes: Object.entries(attributes).map(([Name, Value]) => ({ Name, Value })),
    RefreshTokens: [],
  };
}

mkdirSync('.cognito/db', { recursive: true });
write('config', { TokenConfig: { IssuerDomain: new URL(ISSUER).origin } });
write('db/clients', {
  Clients: Object.fromEntries(
    Object.entries(clients).map(([ClientId, CallbackURLs]) => [ClientId, { ClientId, UserPoolId: pool, CallbackURLs }]),
  ),
});
write(`db/${pool}`, {
  Options: { Id: pool },
  Users: Object.fromEntries(Object.values(groups).flat().map(name => [name, user(name)])),
  Groups: Object.fromEntries(Object.entries(groups).map(([GroupName, members]) => [GroupName, { GroupName, members }])),
});

const nonces = new Map(); // by code challenge

function signed(idToken, verifier) {
  const nonce = verifier && nonces.get(hash(verifier)); // none where a refresh token was brought
  const claims = { ...JSON.parse(Buffer.from(idToken.split('.')[1], 'base64url')), nonce };
  const head = `${encoded({ alg: 'RS256', kid: jwk.kid })}.${encoded(claims)}`;
  return `${head}.${sign('sha256', Buffer.from(head), privateKey).toString('base64url')}`;
}

function discovery() {
  return {
    issuer: ISSUER,
    authorization_endpoint: `${origin}/oauth2/authorize`,
    token_endpoint: `${origin}/oauth2/token`,
    end_session_endpoint: `${origin}/logout`,
    jwks_uri: `${ISSUER}/.well-known/jwks.json`,
    response_types_supported: ['code', 'token'],
    id_token_signing_alg_values_supported: ['RS256'],
    token_endpoint_auth_methods_supported: ['client_secret_basic', 'client_secret_post'],
  };
}

function json(response, content) {
  response.setHeader('content-type', 'application/json');
  response.end(JSON.stringify(content));
}

// Source: Amazon Cognito, "Logout endpoint".
function logout(query, response) {
  const back = query.get('logout_uri');
  const callback = back?.replace(/logout$/, 'callback');
  if (!clients[query.get('client_id')]?.includes(callback)) response.statusCode = 400;
  else response.writeHead(302, { location: back });
  response.end();
}

// Source: Amazon Cognito, "Authorize endpoint" (`prompt=none`); nobody has a session here.
function silently(query, response) {
  const back = new URL(query.get('redirect_uri'));
  if (!clients[query.get('client_id')]?.includes(back.href)) response.statusCode = 400;
  else {
    for (const [name, value] of Object.entries({ error: 'login_required', state: query.get('state') }))
      back.searchParams.set(name, value);
    response.writeHead(302, { location: back.href });
  }
  response.end();
}

const emulator = await cognitoLocal.createDefaultServer(pino({ level: 'silent' }));

function answer(request, response) {
  const { pathname, searchParams } = new URL(request.url, origin);
  console.log(request.method, pathname);
  if (pathname === `/${pool}/.well-known/openid-configuration`) return json(response, discovery());
  if (pathname === `/${pool}/.well-known/jwks.json`) return json(response, { keys: [publicKey] });
  if (pathname === '/logout') return logout(searchParams, response);
  if (pathname === '/oauth2/authorize' && searchParams.get('prompt') === 'none') return silently(searchParams, response);
  if (pathname === '/oauth2/authorize' && request.method === 'GET')
    nonces.set(searchParams.get('code_challenge'), searchParams.get('nonce'));
  if (pathname === '/oauth2/token')
    response.json = content => {
      const { id_token } = content;
      json(response, id_token ? { ...content, id_token: signed(id_token, request.body.code_verifier) } : content);
    };
  return emulator.application(request, response);
}

createServer({ cert: readFileSync(CERTIFICATE), key: readFileSync(CERTIFICATE_KEY) }, answer).listen(
  Number(PORT),
  '127.0.0.1',
  () => console.log('ready', ISSUER),
);
const tunnel = createProxy();
tunnel.on('connect', (_request, socket) => {
  const there = connect(Number(PORT), '127.0.0.1', () => {
    socket.write('HTTP/1.1 200 OK\r\n\r\n');
    there.pipe(socket).pipe(there);
  });
  for (const end of [there, socket]) end.on('error', () => [there, socket].forEach(one => one.destroy()));
});
tunnel.listen(Number(TUNNEL), '127.0.0.1');
