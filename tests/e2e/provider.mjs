// A certified OpenID provider for the tests, on this machine only: authorization code + PKCE, sign-in and consent
// forms, RS256 id tokens, JWT access tokens for the resource that is asked for, groups in both.
//
// PORT: where it listens. KEY: file with its one private key as a JWK; another file is a rotation.
// CLIENTS: JSON, client id -> redirect URIs; a site's `/-/callback` has `/-/logout` beside it. AUDIENCE: of access tokens unless another resource is asked for.
// A resource `urn:<audience>:<seconds>` gives tokens for that audience which live so long.
import { readFileSync } from 'node:fs';
import { Provider } from 'oidc-provider';

const { PORT, KEY, CLIENTS, AUDIENCE } = process.env;
const issuer = `http://127.0.0.1:${PORT}`;
const groups = { ann: ['students'], ben: ['students'], tess: ['teachers'] };

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
    grant_types: ['authorization_code'],
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
  ttl: { IdToken: 300, Session: 600, Interaction: 600, Grant: 600 },
  extraTokenClaims: (_ctx, token) => ({ groups: groups[token.accountId] ?? [] }),
  findAccount: (_ctx, sub) => ({ accountId: sub, claims: () => ({ sub, groups: groups[sub] ?? [] }) }),
});

provider.use(async (ctx, next) => {
  console.log(ctx.method, ctx.path);
  await next();
  if (typeof ctx.body === 'string') ctx.body = ctx.body.replace(/@import url\(.+?\);/, ''); // a font from elsewhere
});
provider.on('server_error', (_ctx, error) => console.error(error));
provider.listen(Number(PORT), '127.0.0.1', () => console.log('ready', issuer));
