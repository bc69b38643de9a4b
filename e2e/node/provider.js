// node-oidc-provider as somebody else's issuer of access tokens: opaque ones for
// the client "opaque", JSON Web Tokens for the client "signed". Standard input
// holds {"port": 1, "keys": {"keys": [...private JWKs...]}, "alg": "ES256"}.
import "./webcrypto.js";
import { text } from "node:stream/consumers";
import Provider from "oidc-provider";

const { port, keys, alg } = JSON.parse(await text(process.stdin));
const machine = (client_id, client_secret) => ({
  client_id, client_secret, grant_types: ["client_credentials"], redirect_uris: [], response_types: [],
});
const provider = new Provider(`http://127.0.0.1:${port}`, {
  jwks: keys,
  clientDefaults: { id_token_signed_response_alg: alg },
  clients: [machine("opaque", "secret"), machine("signed", "secret"), machine("guard+1", "100% se:cret")],
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    revocation: { enabled: true },
    introspection: { enabled: true, allowedPolicy: (ctx, client) => client.clientId === "guard+1" },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: (ctx, audience, client) => ({
        scope: "read write", audience, accessTokenTTL: 600,
        accessTokenFormat: client.clientId === "signed" ? "jwt" : "opaque",
        jwt: { sign: { alg } },
      }),
    },
  },
});
provider.listen(port, "127.0.0.1", () => console.log("ready"));
