// OAuth clients from npm, unmodified, against the standard realm. They are told
// one thing only: that plain http is fine on loopback.
import "./webcrypto.js";
import assert from "node:assert/strict";
import test from "node:test";
import * as oauth from "oauth4webapi";
import * as client from "openid-client";
import simple from "simple-oauth2";

const issuer = new URL(process.env.ISSUER + "/oauth2");
const audience = issuer.href;
const id = "demo-client";
const secret = "demo-secret";
const user = { username: "demo@example.com", password: "demo-password" };
const http = { [oauth.allowInsecureRequests]: true };

test("oauth4webapi: the whole life of a token", async () => {
  const server = await oauth.processDiscoveryResponse(
    issuer,
    await oauth.discoveryRequest(issuer, { algorithm: "oauth2", ...http }),
  );
  const me = { client_id: id };
  for (const auth of [oauth.ClientSecretBasic(secret), oauth.ClientSecretPost(secret)]) {
    const response = await oauth.clientCredentialsGrantRequest(server, me, auth, new URLSearchParams({ scope: "read" }), http);
    assert.equal(response.headers.get("cache-control"), "no-store");
    const token = await oauth.processClientCredentialsResponse(server, me, response);
    assert.equal(token.token_type, "bearer"); // the library lowers it
    assert.equal(token.scope, "read");
    assert.equal(token.refresh_token, undefined);

    // RFC 9068: typ at+jwt, issuer, audience, signature by a key of the JWKS.
    const request = new Request("https://api.example/", { headers: { authorization: `Bearer ${token.access_token}` } });
    const claims = await oauth.validateJwtAccessToken(server, request, audience, http);
    assert.equal(claims.client_id, id);
    assert.equal(claims.sub, id);
    assert.equal(claims.scope, "read");
    await assert.rejects(oauth.validateJwtAccessToken(server, request, "https://other.example", http));

    const ask = async () => oauth.processIntrospectionResponse(
      server, me, await oauth.introspectionRequest(server, me, auth, token.access_token, http));
    const active = await ask();
    assert.equal(active.active, true);
    assert.equal(active.client_id, id);
    assert.equal(active.exp, claims.exp);

    await oauth.processRevocationResponse(await oauth.revocationRequest(server, me, auth, token.access_token, http));
    assert.deepEqual(await ask(), { active: false });
    // A token that is no token is revoked as well as one that was never there.
    await oauth.processRevocationResponse(await oauth.revocationRequest(server, me, auth, "garbage", http));
  }
});

test("oauth4webapi: refusals", async () => {
  const server = await oauth.processDiscoveryResponse(
    issuer,
    await oauth.discoveryRequest(issuer, { algorithm: "oauth2", ...http }),
  );
  const me = { client_id: id };
  const wrong = oauth.ClientSecretBasic("wrong");
  await assert.rejects(
    async () => oauth.processClientCredentialsResponse(
      server, me, await oauth.clientCredentialsGrantRequest(server, me, wrong, {}, http)),
    // 401 comes with a challenge, as RFC 6749 section 5.2 says.
    (error) => error instanceof oauth.WWWAuthenticateChallengeError && error.cause[0].scheme === "basic" && error.status === 401,
  );
  await assert.rejects(
    async () => oauth.processClientCredentialsResponse(
      server, me, await oauth.clientCredentialsGrantRequest(server, me, oauth.ClientSecretPost(secret), { scope: "everything" }, http)),
    (error) => error instanceof oauth.ResponseBodyError && error.error === "invalid_scope" && error.status === 400,
  );
});

test("oauth4webapi: password, refresh, and a spent refresh token", async () => {
  const server = await oauth.processDiscoveryResponse(
    issuer,
    await oauth.discoveryRequest(issuer, { algorithm: "oauth2", ...http }),
  );
  const me = { client_id: id };
  const auth = oauth.ClientSecretBasic(secret);
  const first = await oauth.processGenericTokenEndpointResponse(
    server, me, await oauth.genericTokenEndpointRequest(server, me, auth, "password", new URLSearchParams(user), http));
  const refresh = async (token) => oauth.processRefreshTokenResponse(
    server, me, await oauth.refreshTokenGrantRequest(server, me, auth, token, http));
  const second = await refresh(first.refresh_token);
  assert.notEqual(second.refresh_token, first.refresh_token);
  const third = await refresh(second.refresh_token);
  await assert.rejects(refresh(first.refresh_token), (error) => error.error === "invalid_grant");
  await assert.rejects(refresh(third.refresh_token), (error) => error.error === "invalid_grant"); // the family ended
});

test("openid-client: discovery in both places, login, introspection, revocation", async () => {
  for (const where of [issuer.href, issuer.origin + "/.well-known/oauth-authorization-server" + issuer.pathname]) {
    const config = await client.discovery(new URL(where), id, secret, client.ClientSecretBasic(secret), {
      algorithm: "oauth2",
      execute: [client.allowInsecureRequests],
    });
    assert.equal(config.serverMetadata().issuer, issuer.href);
    const token = await client.clientCredentialsGrant(config, { scope: "read write" });
    assert.equal(token.scope, "read write");
    assert.ok(token.expiresIn() > 3000);
    assert.equal((await client.tokenIntrospection(config, token.access_token)).active, true);
    await client.tokenRevocation(config, token.access_token);
    assert.equal((await client.tokenIntrospection(config, token.access_token)).active, false);

    const login = await client.genericGrantRequest(config, "password", user);
    const renewed = await client.refreshTokenGrant(config, login.refresh_token);
    assert.notEqual(renewed.refresh_token, login.refresh_token);
  }
});

test("simple-oauth2: client credentials and password, in the header and in the body", async () => {
  for (const authorizationMethod of ["header", "body"]) {
    const config = {
      client: { id, secret },
      auth: { tokenHost: issuer.origin, tokenPath: issuer.pathname + "/token", revokePath: issuer.pathname + "/revoke" },
      options: { authorizationMethod },
    };
    const byClient = await new simple.ClientCredentials(config).getToken({ scope: "read" });
    assert.equal(byClient.token.token_type, "Bearer");
    assert.equal(byClient.expired(), false);

    const byUser = await new simple.ResourceOwnerPassword(config).getToken({ ...user, scope: "read" });
    const renewed = await byUser.refresh();
    assert.notEqual(renewed.token.refresh_token, byUser.token.refresh_token);
    await renewed.revokeAll();
    await assert.rejects(renewed.refresh());
    await assert.rejects(new simple.ResourceOwnerPassword(config).getToken({ ...user, password: "wrong" }), (error) => error.output.statusCode === 400);
  }
});
