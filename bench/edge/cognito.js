// cognito-at-edge as its README sets it up. There is no Cognito here, so its pool's keys come from a server on this
// machine, or, with `keys` in the settings, are put in beforehand, which the package itself has no option for.
'use strict';
const { Authenticator } = require('cognito-at-edge');
const { server, keys, ...options } = require('./settings.json');

if (server) {
  const https = require('https');
  const ask = https.request;
  https.request = (uri, how, then) =>
    ask(uri, { ...how, hostname: '127.0.0.1', servername: new URL(uri).hostname, ...server }, then);
}
const authenticator = new Authenticator(options);
if (keys) authenticator._jwtVerifier.cacheJwks(keys);
exports.handler = async (event) => authenticator.handle(event);
