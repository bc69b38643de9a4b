package e2e_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialects"
	"github.com/jetonhq/jeton/guard"
	"github.com/jetonhq/jeton/guard/graphql"
)

// scopes is a verifier whose tokens are named after what they grant.
type scopes []string

func (s scopes) Verify(_ context.Context, bearer jeton.Secret) (*jeton.Claims, error) {
	for _, scope := range s {
		if bearer.Reveal() == scope {
			return &jeton.Claims{Subject: "id-of-" + scope, Scope: jeton.Scope{scope}}, nil
		}
	}
	return nil, jeton.Refuse(jeton.InvalidToken, "unknown")
}

// TestGraphQL runs Apollo's client against real GraphQL servers behind a guard.
func TestGraphQL(t *testing.T) {
	need(t, "node")
	for _, kind := range []string{"apollo", "yoga"} {
		t.Run(kind, func(t *testing.T) {
			api, log := startGraphQL(t, kind)
			d, err := dialects.Load("oauth2")
			if err != nil {
				t.Fatal(err)
			}
			d.Scope.Order = []string{"guest", "agent", "bot", "admin"}
			fields := map[string]string{
				"Query.me": guard.TokenSuffices, "Query.echo": guard.TokenSuffices, "Query.users": "agent", "Query.node": "agent", "Query.__schema": "admin",
				"Mutation.createUser": "admin", "Subscription.ticks": "agent", "User.email": "bot",
			}
			g := &guard.Guard{Dialect: d, Verifier: scopes(d.Scope.Order), GraphQL: &guard.GraphQL{
				At: "/graphql", GET: true, Policy: graphql.Policy{Schema: graphQLSchema, Fields: fields}}}
			front := httptest.NewServer(g.Proxy(api))
			defer front.Close()
			cmd := exec.Command("node", "--test", "--test-reporter=tap", "graphql.test.js")
			cmd.Dir = "node"
			cmd.Env = append(os.Environ(), "GUARD="+front.URL+"/", "LOG="+log, "KIND="+kind, "NODE_ENV=test")
			out, err := cmd.CombinedOutput()
			if err != nil || !regexp.MustCompile(`(?m)^# pass 10$`).Match(out) {
				t.Errorf("%v, want 10 tests to pass\n%s", err, out)
			}
		})
	}
}

// TestGraphQLServed: the same is done by a program that runs a file.
func TestGraphQLServed(t *testing.T) {
	need(t, "node")
	api, log := startGraphQL(t, "yoga")
	dir, listen := t.TempDir(), freeAddress(t)
	hello := `query Hello { echo(text: "hello") }`
	key, _ := run(t, "", "config", "new-key")
	for name, text := range map[string]string{
		"seal.key": key, "secret": canarySecret + "\n", "schema.graphql": graphQLSchema,
		"documents.json": fmt.Sprintf(`{"%x": %q}`, sha256.Sum256([]byte(hello)), hello),
		"jeton.yaml": `store: sqlite:jeton.db
seal: file:seal.key
issuer:
  listen: ` + listen + `
  realms:
    std: {dialect: oauth2}
guard:
  listen: ` + listen + `
  upstreams:
    api:
      realm: std
      to: ` + api.String() + `
      at: /api
      graphql:
        at: /graphql
        schema: schema.graphql
        fields: {Query.me: token, Query.echo: token, Query.users: read, Mutation.*: write, User.email: write}
        persisted: documents.json
        limits: {depth: 3}
`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "jeton.yaml")
	p := start(t, "serve", "-c", file)
	p.await(t, p.stderr, "listening")
	run(t, "", "client", "add", "app", "--realm", "std", "--id", "app", "--scope", "read", "--secret-file", filepath.Join(dir, "secret"), "-c", file)
	token := ask(t, "POST", "http://"+listen+"/std/token", "grant_type=client_credentials", append(basicAuth("app:"+canarySecret), "Content-Type", form)...).
		want(t, 200, "").text("access_token")
	for _, tt := range []struct {
		body   string
		status int
		says   string
	}{
		{`{"query":"{ users { name } }"}`, 200, "Grace"},
		{fmt.Sprintf(`{"extensions":{"persistedQuery":{"version":1,"sha256Hash":"%x"}}}`, sha256.Sum256([]byte(hello))), 200, `"echo":"hello"`},
		{`{"query":"{ me { email } }"}`, 403, "FORBIDDEN"},
		{`{"query":"{ secrets }"}`, 403, "FORBIDDEN"},
		{`{"query":"mutation { createUser(name: \"x\") { id } }"}`, 403, "FORBIDDEN"},
		{`{"query":"{ a { b { c { d } } } }"}`, 400, "GRAPHQL_VALIDATION_FAILED"},
	} {
		a := ask(t, "POST", "http://"+listen+"/api/graphql", tt.body, "Authorization", "Bearer "+token, "Content-Type", "application/json")
		if a.status != tt.status || !strings.Contains(a.body, tt.says) {
			t.Errorf("%s: %d %s, want %d %s", tt.body, a.status, a.body, tt.status, tt.says)
		}
	}
	if a := ask(t, "GET", log, ""); a.body != `["Query.users","Query.echo"]` {
		t.Errorf("the API was asked %s", a.body)
	}
}

// graphQLSchema is what the operator of the guard was given of the API.
const graphQLSchema = `
type Query { me: User! users(first: Int): [User!]! node(id: ID!): Node echo(text: String!): String! secrets: [String!]! }
type Mutation { createUser(name: String!): User! }
type Subscription { ticks(count: Int!): Int! }
interface Node { id: ID! }
type User implements Node { id: ID! name: String! email: String! }
`

// startGraphQL starts a server and returns its URL, and that of its log.
func startGraphQL(t *testing.T, kind string) (api *url.URL, log string) {
	t.Helper()
	cmd := exec.Command("node", "graphql-upstream.js")
	cmd.Dir = "node"
	cmd.Env = append(os.Environ(), "KIND="+kind, "NODE_ENV=test")
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	base, log, _ := strings.Cut(strings.TrimSpace(line), " ")
	api, err = url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	return api, log
}
