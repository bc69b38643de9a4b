package e2e_test

import (
	"bufio"
	"context"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialects"
	"github.com/jetonhq/jeton/guard"
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
			g := &guard.Guard{Dialect: d, Verifier: scopes(d.Scope.Order), GraphQL: &guard.GraphQL{
				At: "/graphql", Schema: graphQLSchema, GET: true, Fields: map[string]string{
					"Query.me": guard.TokenSuffices, "Query.echo": guard.TokenSuffices, "Query.users": "agent", "Query.node": "agent", "Query.__schema": "admin",
					"Mutation.createUser": "admin", "Subscription.ticks": "agent", "User.email": "bot",
				}}}
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
