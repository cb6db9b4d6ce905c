// A real identity provider, panva's oidc-provider, with the login page of its own: started by the tests on a free port of
// 127.0.0.1, ended with its standard input. Everybody it is told of may sign in, with any password.
//   node provider.mjs REDIRECT_URI [LOGOUT_URI] < /dev/…      prints its issuer in a line when it listens
// Told of a logout URI, it tells there who signed out (OpenID Connect Back-Channel Logout); that certificate is believed by
// NODE_EXTRA_CA_CERTS.
import { createServer } from 'node:http';
import { Provider } from 'oidc-provider';

const [redirectUri, logoutUri] = process.argv.slice(2);
const people = {
  eve: { preferred_username: 'eve', name: 'Eve Example', groups: ['web', 'other'] },
  mallory: { preferred_username: 'mallory', name: 'Mallory', groups: [] },
};

const server = createServer((request, response) => handle(request, response));
let handle = (_, response) => response.writeHead(503).end();

server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [{ client_id: 'lampas', client_secret: 'a secret of the client', redirect_uris: [redirectUri], response_types: ['code'], grant_types: ['authorization_code'], ...(logoutUri === undefined ? {} : { backchannel_logout_uri: logoutUri, backchannel_logout_session_required: true }) }],
    features: { backchannelLogout: { enabled: true } },
    // Without the guard against addresses of this machine: all of it stands here.
    fetch: (url, { dispatcher: _, ...options }) => globalThis.fetch(url, options),
    claims: { openid: ['sub'], profile: ['preferred_username', 'name'], groups: ['groups'] },
    scopes: ['openid', 'profile', 'groups'],
    cookies: { keys: ['for the tests'] },
    // The sub is not the name that somebody signs in with.
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, ...people[id] }) }),
  });
  provider.on('backchannel.error', (_, error) => process.stderr.write(`${error.stack}\n`));
  handle = provider.callback();
  process.stdout.write(`${issuer}\n`);
});
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
