// What a program with Apollo's client sees of a GraphQL API behind a guard. GUARD
// is the guard's URL, LOG that of what the API was asked, KIND which server it is.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import test from "node:test";
import { ApolloClient, ApolloLink, CombinedGraphQLErrors, HttpLink, InMemoryCache, gql } from "@apollo/client";
import { BatchHttpLink } from "@apollo/client/link/batch-http";
import { PersistedQueryLink } from "@apollo/client/link/persisted-queries";
import { getIntrospectionQuery, parse, print } from "graphql";

const uri = process.env.GUARD + "graphql";

// client returns a client whose token is named after its scope, and the calls it
// made.
function client(token, { http = {}, before = [], batch = false } = {}) {
  const calls = [];
  const options = {
    uri,
    headers: token ? { authorization: `Bearer ${token}` } : {},
    fetch: async (url, init) => {
      const answer = await fetch(url, init);
      calls.push({ url: String(url), ...init, status: answer.status });
      return answer;
    },
    ...http,
  };
  const last = batch ? new BatchHttpLink({ ...options, batchMax: 10, batchInterval: 5 }) : new HttpLink(options);
  const c = new ApolloClient({ link: ApolloLink.from([...before, last]), cache: new InMemoryCache(), defaultOptions: { query: { fetchPolicy: "no-cache" } } });
  return Object.assign(c, { calls });
}

// codes runs something that has to fail, and returns the codes of its errors.
async function codes(failing) {
  try {
    await failing;
  } catch (error) {
    if (CombinedGraphQLErrors.is(error)) {
      return error.errors.map((e) => e.extensions.code);
    }
    const body = JSON.parse(error.bodyText ?? "null"); // of a batch
    if (Array.isArray(body)) {
      return body.flatMap((item) => item.errors.map((e) => e.extensions.code));
    }
    throw error;
  }
  assert.fail("it did not fail");
}

// asked returns what the API was asked since the last time.
const asked = async () => (await fetch(process.env.LOG)).json();

const me = gql`query Me { me { id name } }`;
const users = gql`query Users($first: Int) { me: users(first: $first) { ...Name } } fragment Name on User { id name }`;

test("allowed", async () => {
  await asked();
  const { data } = await client("agent").query({ query: users, variables: { first: 1 } });
  assert.deepEqual(data.me, [{ __typename: "User", id: "1", name: "Ada" }]);
  assert.deepEqual(await asked(), ["Query.users"]);
});

test("refused", async () => {
  const cases = [
    [undefined, { query: me }, "UNAUTHENTICATED", 401],
    ["nobody", { query: me }, "UNAUTHENTICATED", 401],
    ["guest", { query: users }, "FORBIDDEN", 403],
    ["guest", { query: gql`{ me { id } ...F } fragment F on Query { x: users { id } }` }, "FORBIDDEN", 403],
    ["agent", { query: gql`{ me { email } }` }, "FORBIDDEN", 403],
    ["agent", { query: gql`{ node(id: "1") { ... on User { email } } }` }, "FORBIDDEN", 403],
    ["admin", { query: gql`{ secrets }` }, "FORBIDDEN", 403],
    ["guest", { query: gql`{ nothing }` }, "GRAPHQL_VALIDATION_FAILED", 400],
    ["guest", { query: gql`{ __schema { types { name } } }` }, "FORBIDDEN", 403],
    ["guest", { query: gql`{ me { ${Array.from({ length: 60 }, (_, i) => `a${i}: id`).join(" ")} } }` }, "GRAPHQL_VALIDATION_FAILED", 400],
  ];
  for (const [token, options, code, status] of cases) {
    const c = client(token);
    assert.deepEqual(await codes(c.query(options)), [code], print(options.query));
    assert.equal(c.calls[0].status, status);
  }
  const c = client("bot");
  assert.deepEqual(await codes(c.mutate({ mutation: gql`mutation { me: createUser(name: "x") { id } }` })), ["FORBIDDEN"]);
  assert.deepEqual(await asked(), []);
});

test("mutation", async () => {
  const { data } = await client("admin").mutate({ mutation: gql`mutation New($name: String!) { createUser(name: $name) { name email } }`, variables: { name: "Linus" } });
  assert.deepEqual(data.createUser, { __typename: "User", name: "Linus", email: "new@example.com" });
  assert.deepEqual(await asked(), ["Mutation.createUser"]);
});

test("batch", async () => {
  const c = client("guest", { batch: true });
  const [a, b] = await Promise.all([c.query({ query: me }), c.query({ query: gql`{ echo(text: "hello") }` })]);
  assert.equal(a.data.me.name, "Ada");
  assert.equal(b.data.echo, "hello");
  assert.equal(c.calls.length, 1);
  assert.deepEqual((await asked()).sort(), ["Query.echo", "Query.me"]);

  const outcome = await Promise.allSettled([codes(c.query({ query: me })), codes(c.query({ query: users })), codes(c.query({ query: me }))]);
  assert.equal(c.calls.length, 2);
  assert.equal(c.calls[1].status, 403);
  assert.ok(outcome[1].value.includes("FORBIDDEN"), JSON.stringify(outcome));
  assert.ok(outcome[0].value.includes("BATCH_REFUSED"), JSON.stringify(outcome));
  assert.deepEqual(await asked(), []);
});

test("persisted", async () => {
  const sha256 = (text) => createHash("sha256").update(text).digest("hex");
  for (const useGETForHashedQueries of [false, true]) {
    const c = client("agent", { before: [new PersistedQueryLink({ sha256, useGETForHashedQueries })] });
    const query = gql`query Persisted($first: Int) { users(first: $first) { name x${useGETForHashedQueries}: id } }`;
    for (const first of [1, 2]) {
      const { data } = await c.query({ query, variables: { first } });
      assert.equal(data.users.length, first);
    }
    // A hash that is not known, the document, and the hash that now is.
    assert.deepEqual(c.calls.map((call) => call.status), [200, 200, 200]);
    assert.equal(c.calls[2].method, useGETForHashedQueries ? "GET" : "POST");
    assert.ok(!decodeURIComponent(c.calls[2].url + c.calls[2].body).includes("Persisted("), "the document was sent again");
    const other = client("guest", { before: [new PersistedQueryLink({ sha256, useGETForHashedQueries })] });
    assert.deepEqual(await codes(other.query({ query })), ["FORBIDDEN"]);
    assert.deepEqual(await asked(), ["Query.users", "Query.users"]);
  }
});

test("GET", async () => {
  const c = client("agent", { http: { useGETForQueries: true } });
  const { data } = await c.query({ query: users, variables: { first: 2 } });
  assert.equal(data.me.length, 2);
  assert.equal(c.calls[0].method, "GET");
  assert.deepEqual(await codes(client("guest", { http: { useGETForQueries: true } }).query({ query: users })), ["FORBIDDEN"]);
  const mutation = encodeURIComponent(`mutation { createUser(name: "x") { id } }`);
  const answer = await fetch(`${uri}?query=${mutation}`, { headers: { authorization: "Bearer admin", "apollo-require-preflight": "1" } });
  assert.equal(answer.status, 405);
  assert.deepEqual(await asked(), ["Query.users"]);
});

test("introspection", async () => {
  const { data } = await client("admin").query({ query: parse(getIntrospectionQuery()) });
  assert.ok(data.__schema.types.some((t) => t.name === "User"));
});

// The strings of a document are the same for the API, however they were written.
test("strings", async () => {
  const literals = [
    String.raw`"plain"`, String.raw`"a\"b\\c\/d\b\f\n\r\t"`, String.raw`"\u00e9\u{1F600}\uD83D\uDE00"`, `"	é 😀 \u2028"`, `""`, `"""   """`, `"#,"`,
    `"""one\n    two\n      three"""`, `"""\n    one\n      two\r\n\r\n    three\r  """`, String.raw`""" \""" "quoted" \n \\ """`, `"""\n\t\ta\n\t b\n"""`, `"""a"""`, `"""\n  \n  a\n\n"""`,
    `"""\n  a\n b\n\t  c"""`, `"""  first\n  second"""`, `"""\nx\n    y """`,
  ];
  const c = client("guest");
  for (const literal of literals) {
    const source = `{ echo(text: ${literal}) }`;
    const expected = parse(source).definitions[0].selectionSet.selections[0].arguments[0].value.value;
    const answer = await fetch(uri, { method: "POST", headers: { authorization: "Bearer guest", "content-type": "application/json" }, body: JSON.stringify({ query: source }) });
    assert.deepEqual(await answer.json(), { data: { echo: expected } }, literal);
  }
  assert.equal(c.calls.length, 0);
  assert.equal((await asked()).length, literals.length);
});

test("subscription", async () => {
  const subscribe = (token) =>
    fetch(uri, {
      method: "POST",
      headers: { authorization: `Bearer ${token}`, "content-type": "application/json", accept: "text/event-stream" },
      body: JSON.stringify({ query: "subscription { ticks(count: 3) }" }),
    });
  assert.equal((await subscribe("guest")).status, 403);
  assert.deepEqual(await asked(), []);
  const text = await (await subscribe("agent")).text();
  if (process.env.KIND === "yoga") { // the other server has none over HTTP
    assert.deepEqual([...text.matchAll(/"ticks":(\d)/g)].map((m) => m[1]), ["1", "2", "3"]);
    assert.deepEqual(await asked(), ["Subscription.ticks"]);
  }
});

// Many a server executes GraphQL at more paths than one.
test("beside the endpoint", async () => {
  for (const path of ["", "graphql/", "GraphQL", "graphql/x", "api", "graphql?x", "//graphql"]) {
    const answer = await fetch(process.env.GUARD + path, { method: "POST", headers: { authorization: "Bearer admin", "content-type": "application/json" }, body: `{"query":"{ secrets }"}` });
    assert.ok(answer.status === 403 || answer.status === 400, `${path}: ${answer.status}`);
  }
  assert.deepEqual(await asked(), []);
});
