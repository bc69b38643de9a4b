// What a Node.js program for iAdvize does: log in with axios and querystring,
// keep the token until shortly before it expires, and back off when told to.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import test from "node:test";

const require = createRequire(import.meta.url); // as programs of that kind are written
const axios = require("axios");
const querystring = require("querystring");

const base = process.env.ISSUER + "/iadvize";
const margin = 5 * 60 * 1000; // ms before expiry

// tokens returns a function that gives a token: a cached one, or a new login.
function tokens(username, password) {
  let kept = { token: null, until: 0 };
  const get = async () => {
    if (kept.token && Date.now() < kept.until - margin) {
      return kept.token;
    }
    get.logins++;
    const { data } = await axios.post(`${base}/oauth2/token`, querystring.stringify({ grant_type: "password", username, password }), {
      headers: { "Content-Type": "application/x-www-form-urlencoded" },
    });
    kept = { token: data.access_token, until: Date.now() + data.expires_in * 1000 };
    return kept.token;
  };
  get.logins = 0;
  get.forget = () => { kept = { token: null, until: 0 }; };
  return get;
}

// patiently tries again after a 429: 1, 2, 4, 8 seconds, as wait sees fit.
async function patiently(get, wait, attempt = 0) {
  try {
    return await get();
  } catch (error) {
    if (error.response?.status !== 429 || attempt === 4) {
      throw error;
    }
    await wait(2 ** attempt * 1000, error.response);
    return patiently(get, wait, attempt + 1);
  }
}

test("one login serves many calls", async () => {
  const get = tokens("demo@example.com", "demo-password");
  for (let i = 0; i < 5; i++) {
    const headers = { Authorization: `Bearer ${await get()}` };
    const { data } = await axios.post(`${base}/graphql`, { query: "{ me { id } }" }, { headers });
    assert.ok(data.data.me.id);
  }
  const { data } = await axios.get(`${base}/_authenticated`, { headers: { Authorization: `Bearer ${await get()}` } });
  assert.deepEqual(data, { authenticated: true });
  assert.equal(get.logins, 1);
});

test("a query as plain text, as axios sends a string", async () => {
  const get = tokens("demo@example.com", "demo-password");
  const { data } = await axios.post(`${base}/graphql`, "{ me { id } }", { headers: { Authorization: `Bearer ${await get()}` } });
  assert.ok(data.data.me.id);
});

test("a wrong password is an error with a body, and the limit is a 429 with Retry-After", async () => {
  const wrong = tokens("nobody@example.com", "wrong");
  const waits = [];
  let refused;
  for (let i = 0; i < 11 && !waits.length; i++) {
    refused = await patiently(wrong, (ms, response) => {
      waits.push(ms);
      assert.ok(Number(response.headers["retry-after"]) > 0);
    }).catch((error) => error);
    assert.ok(refused.response.status === 400 || refused.response.status === 429);
    assert.ok(refused.response.data.error);
  }
  assert.deepEqual(waits, [1000, 2000, 4000, 8000]);
  assert.equal(refused.response.status, 429);
});
