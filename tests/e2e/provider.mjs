// A certified OpenID provider for the tests, on this machine only: authorization code + PKCE, sign-in and consent
// forms, RS256 id tokens, JWT access tokens for the resource that is asked for, groups in both.
//
// PORT: where it listens. KEY: file with its one private key as a JWK; another file is a rotation.
// CLIENTS: JSON, client id -> redirect URIs; a site's `/-/callback` has `/-/logout` beside it. AUDIENCE: of access tokens unless another resource is asked for.
// REFRESHES: JSON, the clients that get refresh tokens, each of which counts once. GROUPS: a file with the groups of each
// person, which may change.
// A resource `urn:<audience>:<seconds>` gives tokens for that audience which live so long.
import { readFileSync } from 'node:fs';
import { Provider } from 'oidc-provider';

const { PORT, KEY, CLIENTS, AUDIENCE, REFRESHES = '[]', GROUPS } = process.env;
const issuer = `http://127.0.0.1:${PORT}`;
const everybody = { ann: ['students'], ben: ['students'], tess: ['teachers'] };
const groupsOf = person => (GROUPS ? JSON.parse(readFileSync(GROUPS, 'utf8')) : everybody)[person] ?? [];
const refreshes = JSON.parse(REFRESHES);

function resourceServer(_ctx, resource) {
  const [, audience, seconds] = /^urn:(.+):(\d+)$/.exec(resource) ?? [null, resource, '300'];
  return {
    audience,
    scope: 'openid groups',
    accessTokenFormat: 'jwt',
    accessTokenTTL: Number(seconds),
    jwt: { sign: { alg: 'RS256' } },
  };
}

const provider = new Provider(issuer, {
  clients: Object.entries(JSON.parse(CLIENTS)).map(([client_id, uris]) => ({
    client_id,
    redirect_uris: uris,
    post_logout_redirect_uris: uris.map(uri => uri.replace(/callback$/, 'logout')),
    response_types: ['code'],
    grant_types: ['authorization_code', ...(refreshes.includes(client_id) ? ['refresh_token'] : [])],
    token_endpoint_auth_method: 'none',
    id_token_signed_response_alg: 'RS256',
  })),
  jwks: { keys: [JSON.parse(readFileSync(KEY, 'utf8'))] },
  cookies: { keys: ['only for tests'] },
  scopes: ['openid', 'groups'],
  claims: { openid: ['sub'], groups: ['groups'] },
  conformIdTokenClaims: false,
  pkce: { required: () => true },
  features: {
    devInteractions: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => AUDIENCE,
      useGrantedResource: () => true,
      getResourceServerInfo: resourceServer,
    },
  },
  issueRefreshToken: (_ctx, client) => client.grantTypeAllowed('refresh_token'), // without the question `offline_access` asks
  rotateRefreshToken: true, // and one that comes twice ends its grant
  ttl: { IdToken: 300, Session: 86_400, Interaction: 600, Grant: 86_400, RefreshToken: 86_400 },
  extraTokenClaims: (_ctx, token) => ({ groups: groupsOf(token.accountId) }),
  findAccount: (_ctx, sub) => ({ accountId: sub, claims: () => ({ sub, groups: groupsOf(sub) }) }),
});

provider.use(async (ctx, next) => {
  console.log(ctx.method, ctx.path);
  await next();
  if (typeof ctx.body === 'string') ctx.body = ctx.body.replace(/@import url\(.+?\);/, ''); // a font from elsewhere
});
provider.on('server_error', (_ctx, error) => console.error(error));
provider.listen(Number(PORT), '127.0.0.1', () => console.log('ready', issuer));
